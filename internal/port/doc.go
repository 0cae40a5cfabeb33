// Package port is where a node meets Ethernet: TAP devices, existing interfaces, bridges, sockets of QEMU and, for tests, memory.
//
// It does not decide where a frame goes, and leaves no goroutine running: a worker calls Read and Write and waits
// in Read only. Doors to the kernel are Linux only.
package port
