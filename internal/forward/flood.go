package forward

import "slices"

// Flood says what the built-in flood tree of this node is made of.
type Flood struct {
	Ports []Side // every local port
	Star  []Side // the link to the Proxy; at the Proxy, the link to each host. Every other link is a fast path.
	Proxy bool   // this node is the Proxy
	Off   bool   // the seed's pure form: no tree, group frames are matched like all others
	Seed  uint64 // of the table's hash, from the caller's dice so that guests cannot aim at one bucket; read by New only
}

// tree is the flood tree made ready. At a host and at the Proxy alike, what comes from one member goes to all the others:
// a host has but one star link. Immutable.
type tree struct {
	off      bool
	upstream Side         // the star link of a host; 0 at the Proxy
	place    map[Side]int // of each member in ring; -1 for one that is out of order
	ring     []Side       // the members in order, twice over: the others of member i are ring[i+1:i+n]
	n        int          // members in order
}

// newTree leaves out what is down or blocked.
func newTree(f Flood, gone map[Side]bool) *tree {
	star := f.Star
	t := &tree{off: f.Off}
	if !f.Proxy && len(star) > 0 {
		star, t.upstream = star[:1], star[0]
	}
	t.place = make(map[Side]int, len(f.Ports)+len(star))
	for _, side := range slices.Concat(f.Ports, star) {
		if _, twice := t.place[side]; twice {
			continue
		}
		t.place[side] = -1
		if !gone[side] {
			t.place[side] = len(t.ring)
			t.ring = append(t.ring, side)
		}
	}
	t.n = len(t.ring)
	t.ring = append(t.ring, t.ring...)
	return t
}

// others are the members a frame from arrival goes to; a port that is no member may still send to all.
func (t *tree) others(arrival Side) []Side {
	if i, ok := t.place[arrival]; ok && i >= 0 {
		return t.ring[i+1 : i+t.n : i+t.n]
	}
	return t.ring[:t.n:t.n]
}

// fastPath says whether a frame from arrival has no business in the tree.
func (t *tree) fastPath(arrival Side) bool {
	if !arrival.IsLink() {
		return false
	}
	_, member := t.place[arrival]
	return !member
}
