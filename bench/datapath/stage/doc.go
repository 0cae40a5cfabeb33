// Package stage is the scene of a measurement: network namespaces joined by pairs of veth, and the programs that run in them.
//
// Everything on it is gone when the process that owns it ends, in whatever way. It measures nothing. It needs root, or a
// kernel that allows user namespaces to ordinary users; [Enter] comes first.
package stage
