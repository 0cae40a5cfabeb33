// Package ether reads and reshapes Ethernet frames as views over bytes: addresses, tags, offload marks,
// segmentation, coalescing and checksums.
//
// It does not do input or output, remembers nothing from one batch to the next, and never allocates for a frame. It reads
// headers only as far as segmentation and checksums need them (802.1Q, IPv4, IPv6, TCP, UDP); whatever else a
// frame carries passes untouched.
package ether
