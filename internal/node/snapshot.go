package node

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
)

// snapshot is everything a worker needs to forward: immutable, replaced whole
// behind an atomic pointer by the loop.
type snapshot struct {
	table *forward.Table
	ports []*localPort // by index of their side; never shrinks
	slots []*slot      // by index of their side; never shrinks
	// learn changes when a MAC leaves this node, so that workers forget what
	// they believed to have announced.
	learn uint64
	// answer: the star is down, so neighbour requests are answered here.
	answer   bool
	proxy    bool                    // this is the Proxy's node
	probeKey []byte                  // of the overlay; signs probes
	star     *slot                   // the way to the Proxy; nil at the Proxy
	seal     *sealing                // nil while nothing is sealed end to end
	moved    map[ether.MAC]time.Time // lived here until a moment ago; never changed
}

func reasonText(r int) string { return forward.Reason(r).String() }
