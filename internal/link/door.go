package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// ErrFull is what a socket answers when its queue has no room; the datagrams are dropped, nothing waits.
var ErrFull = errors.New("the socket's queue is full")

// Socket is one UDP socket of a group that shares a port.
type Socket interface {
	// ReadBatch waits for at least one datagram and takes what else is there without waiting. bufs[i][:sizes[i]] came
	// from from[i]; where segs[i] > 0 it is several datagrams of that size, the last perhaps shorter.
	ReadBatch(bufs [][]byte, sizes, segs []int, from []netip.AddrPort) (int, error)
	// WriteSegments sends buf as datagrams of seg bytes, the last perhaps shorter: at most 64, in one call. It never
	// waits: a full queue is ErrFull; a datagram larger than the path, as far as is known, syscall.EMSGSIZE. Safe from any goroutine; buf is the caller's again on return.
	WriteSegments(to netip.AddrPort, buf []byte, seg int) error
	LocalAddr() netip.AddrPort
	Close() error
}

// Net is the door to the network: Kernel, or its twin made of memory.
type Net interface {
	// ListenUDP opens n sockets on one port. Datagrams of one sender's address reach one of them.
	ListenUDP(at netip.AddrPort, n int) ([]Socket, error)
	ListenTCP(at netip.AddrPort) (net.Listener, error)
	DialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// pathSizer is a door that knows the MTU of the route to an address, as far as this machine can tell.
type pathSizer interface{ PathMTU(to netip.AddrPort) int }
