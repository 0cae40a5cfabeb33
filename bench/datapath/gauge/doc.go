// Package gauge measures what lies between two guests: throughput, packet rates, latency, processor time and memory.
//
// It knows nothing of what carries the frames. TCP is iperf3's; datagrams are sent and received here, with ordinary calls
// on threads of their own.
package gauge

import (
	"net/netip"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// Between is two guests: namespaces, and the addresses by which they know each other.
type Between struct {
	Stage *stage.Stage
	A, B  string
	AddrA netip.Addr
	AddrB netip.Addr
}
