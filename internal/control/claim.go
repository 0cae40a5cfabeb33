package control

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// claim judges one claim to a MAC.
func (l *Locator) claim(now time.Time, c Place, gratuitous bool) []PlaceChange {
	p := l.places[c.MAC]
	switch {
	case p == nil:
		return l.learn(now, c)
	case p.Node == c.Node && p.Port == c.Port:
		return p.refresh(now, c)
	case c.Declared:
		return l.move(now, p, c, "declared")
	}
	p.claimed = now
	why := ""
	switch {
	case p.Declared:
		why = fmt.Sprintf("%s claims it, but it is declared to be at %s", c.text(p.Place), p.text(c))
	case l.limits.keeps(p.Place, c) != "":
		why = l.limits.keeps(p.Place, c)
	case p.frozen:
		why = fmt.Sprintf("%s claims it, but it moved %d times in %v and is frozen at %s", c.text(p.Place), movesToFreeze, freezeWindow, p.text(c))
	case !gratuitous && now.Sub(p.heard) < conflictWindow:
		why = fmt.Sprintf("%s claims it while %s still sends with it", c.text(p.Place), p.text(c))
	}
	if why != "" {
		return p.conflict(now, c, why)
	}
	why = fmt.Sprintf("%s sends with it", c.Node)
	if gratuitous {
		why = fmt.Sprintf("it announced itself at %s", c.Node)
	}
	tooMany := p.counts(now, gratuitous) && p.tooMany(now)
	out := l.move(now, p, c, why)
	if tooMany {
		p.frozen, p.reported = true, now
		p.why = fmt.Sprintf("%d moves within %v: two guests with one MAC? It stays at %s", movesToFreeze, freezeWindow, p.Node)
		out = append(out, PlaceChange{Kind: PlaceFrozen, Place: p.Place, Old: out[0].Old, Why: p.why})
	}
	return out
}

func (l *Locator) learn(now time.Time, c Place) []PlaceChange {
	c.IPs, _ = mergeIPs(nil, c.IPs)
	if why := cmp.Or(l.full(c.Node), l.limits.forbids(c)); why != "" && !c.Declared {
		return l.refuse(now, c, why)
	}
	c.Mobility = 0
	l.places[c.MAC] = &placed{Place: c, heard: now}
	l.reporter(c.Node).places++
	return []PlaceChange{{Kind: PlaceLearned, Place: c}}
}

func (p *placed) refresh(now time.Time, c Place) []PlaceChange {
	p.heard = now
	ips, more := mergeIPs(p.IPs, c.IPs)
	if !more && (p.Declared || !c.Declared) {
		return nil
	}
	p.IPs, p.Declared = ips, p.Declared || c.Declared
	return []PlaceChange{{Kind: PlaceUpdated, Place: p.Place}}
}

// move gives a MAC to its new place, and counts it there.
func (l *Locator) move(now time.Time, p *placed, c Place, why string) []PlaceChange {
	l.reporter(p.Node).places--
	l.reporter(c.Node).places++
	return p.move(now, c, why)
}

// move gives the MAC to its new place. The addresses go with it: they are the guest's, not the port's.
func (p *placed) move(now time.Time, c Place, why string) []PlaceChange {
	old := p.Place
	p.Node, p.Port, p.Mobility = c.Node, c.Port, p.Mobility+1
	p.IPs, _ = mergeIPs(p.IPs, c.IPs)
	if c.Declared {
		p.Declared, p.frozen, p.moves = true, false, nil
	}
	p.heard, p.moved, p.refused = now, now, time.Time{}
	return []PlaceChange{{Kind: PlaceMoved, Place: p.Place, Old: old, Why: why}}
}

func (p *placed) conflict(now time.Time, c Place, why string) []PlaceChange {
	p.refused, p.why = now, why
	if !p.reported.IsZero() && now.Sub(p.reported) < conflictReport {
		return nil
	}
	p.reported = now
	return []PlaceChange{{Kind: PlaceConflict, Place: p.Place, Old: c, Why: why}}
}

// counts says whether a move counts towards freezing.
func (p *placed) counts(now time.Time, gratuitous bool) bool {
	return !gratuitous || !p.moved.IsZero() && now.Sub(p.moved) < quickMove
}

// tooMany notes a move and says whether it is the last one believed.
func (p *placed) tooMany(now time.Time) bool {
	p.moves = slices.DeleteFunc(p.moves, func(t time.Time) bool { return now.Sub(t) >= freezeWindow })
	p.moves = append(p.moves, now)
	return len(p.moves) >= movesToFreeze
}

// text names a place so that it cannot be taken for the other one.
func (p Place) text(other Place) string {
	if p.Node != other.Node {
		return string(p.Node)
	}
	return fmt.Sprintf("port %s of %s", p.Port, p.Node)
}
