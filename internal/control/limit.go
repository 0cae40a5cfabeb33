package control

import (
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// maxPlacesOfNode bounds what one node may put into the directory, so that a host that lies, or whose guest does, leaves
	// room for others: a campus behind its LAN port fits.
	maxPlacesOfNode = 1 << 15
	// refusalReport is the least time between two reports that there is no room.
	refusalReport = 10 * time.Second
)

// spot is a port of a node.
type spot struct {
	node overlay.Name
	port string
}

func (p Place) spot() spot { return spot{p.Node, p.Port} }

// limits are what the user says of ports, as claims are judged by it.
type limits struct {
	only  map[ether.MAC][]spot // where alone a MAC may be
	fixed map[spot]bool        // where MACs stay
}

// Limit takes what the user lets in at ports, in place of what held before. A MAC that is where it may not be is forgotten: it
// is learned where it may be.
func (l *Locator) Limit(list []overlay.PortLimit) []PlaceChange {
	l.limits = limits{only: map[ether.MAC][]spot{}, fixed: map[spot]bool{}}
	for _, one := range list {
		at := spot{one.Node, one.Port}
		for _, mac := range one.MACs {
			l.limits.only[mac] = append(l.limits.only[mac], at)
		}
		l.limits.fixed[at] = one.Fixed
	}
	if len(l.limits.only) == 0 {
		return nil
	}
	wrong := func(p *placed) bool { return !p.Declared && l.limits.forbids(p.Place) != "" }
	return l.remove(wrong, "its address is let in at another port only")
}

// forbids says why a MAC may not be at a place; empty when it may.
func (l limits) forbids(c Place) string {
	allowed := l.only[c.MAC]
	for _, at := range allowed {
		if at == c.spot() {
			return ""
		}
	}
	if len(allowed) == 0 {
		return ""
	}
	return fmt.Sprintf("%s claims it, but the user lets it in at port %s of %s only", c.Node, allowed[0].port, allowed[0].node)
}

// keeps says why a MAC that lives somewhere does not follow a claim from elsewhere; empty when it may.
func (l limits) keeps(p, c Place) string {
	if why := l.forbids(c); why != "" {
		return why
	}
	if l.fixed[p.spot()] && len(l.only[c.MAC]) == 0 {
		return fmt.Sprintf("%s claims it, but port %s of %s keeps its addresses until they are declared elsewhere", c.text(p), p.Port, p.Node)
	}
	return ""
}

// full says why a node can put no more into the directory; empty when it can.
func (l *Locator) full(node overlay.Name) string {
	switch {
	case len(l.places) >= maxPlaces:
		return fmt.Sprintf("the directory is full at %d addresses", maxPlaces)
	case l.reporter(node).places >= maxPlacesOfNode:
		return fmt.Sprintf("%s has %d addresses in the directory", node, maxPlacesOfNode)
	}
	return ""
}

// refuse reports a claim to a MAC that has no place, now and then.
func (l *Locator) refuse(now time.Time, c Place, why string) []PlaceChange {
	r := l.reporter(c.Node)
	r.refused++
	if !r.refusedAt.IsZero() && now.Sub(r.refusedAt) < refusalReport {
		return nil
	}
	if r.refusedAt = now; r.refused > 1 {
		why = fmt.Sprintf("%s (%d claims of %s were refused so far)", why, r.refused, c.Node)
	}
	return []PlaceChange{{Kind: PlaceRefused, Place: c, Why: why}}
}
