package control

import (
	"time"
)

// disputed is how long a claim that was not believed counts as trouble: nodes repeat a claim twice a second while
// its guest sends, and a guest that says little speaks at least this often (ARP, neighbour discovery).
const disputed = time.Minute

// Trouble is a MAC that more than one place claims.
type Trouble struct {
	Place  Place
	Frozen bool   // it moved too often and stays where it is
	Why    string // in the user's words
}

// Troubles lists the MACs that are frozen, or were claimed in vain of late, by MAC.
func (l *Locator) Troubles(now time.Time) []Trouble {
	var list []Trouble
	for _, mac := range l.macs() {
		p := l.places[mac]
		if p.frozen || !p.refused.IsZero() && now.Sub(p.refused) < disputed {
			list = append(list, Trouble{Place: p.Place, Frozen: p.frozen, Why: p.why})
		}
	}
	return list
}
