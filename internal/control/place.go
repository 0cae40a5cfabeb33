package control

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// macAgeing is how long a learned MAC is remembered without a sign of it, as bridges have it (IEEE 802.1D: 300 s).
	macAgeing = 300 * time.Second
	// ageingSweep is how often ages are looked at; a place may live this much longer than macAgeing.
	ageingSweep = 5 * time.Second
	// conflictWindow: a place that sent this recently is alive, so a claim by another is a second owner, not a move.
	conflictWindow = time.Second
	// movesToFreeze moves within freezeWindow are a duplicate address, not a guest on its way (RFC 7432 §15.1).
	movesToFreeze = 5
	freezeWindow  = 180 * time.Second
	// quickMove: nothing migrates again this soon, so an announced move counts towards freezing only if it follows the
	// move before it within this time. Announced moves at leisure are what migration looks like.
	quickMove = 10 * time.Second
	// conflictReport is the least time between two reports about one MAC: claims come at every announcement.
	conflictReport = 10 * time.Second
	// maxPlaces bounds the directory: a bridged LAN or a forging guest must not fill the Proxy's memory.
	maxPlaces = 1 << 17
	// maxIPs is how many addresses of one MAC are kept; a guest has a few, a router answering for many has no use for more.
	maxIPs = 8
)

// PlaceKind says what became of a MAC.
type PlaceKind uint8

// What a Locator reports.
const (
	PlaceLearned  PlaceKind = iota // new in the directory
	PlaceMoved                     // a different place has it now; every rule that names the MAC is to be retired
	PlaceUpdated                   // same place, other IPs or now declared
	PlaceConflict                  // a second owner claims it; the place stays
	PlaceFrozen                    // it moved too often; it stays where it is now until the claims end
	PlaceThawed                    // it may move again
	PlaceGone                      // it is no longer in the directory
	PlaceRefused                   // the directory is full
)

func (k PlaceKind) String() string {
	names := [...]string{"learned", "moved", "updated", "conflict", "frozen", "thawed", "gone", "refused"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// PlaceChange is one effect of a Locator.
type PlaceChange struct {
	Kind  PlaceKind
	Place Place  // as the directory has it now; with PlaceGone and PlaceRefused, as it was or would have been
	Old   Place  // PlaceMoved and PlaceFrozen: the retired place. PlaceConflict: the claim that was not believed
	Why   string // in the user's words, for the journal
}

// Locator knows where each MAC lives. It belongs to the Proxy's control goroutine.
//
// A node's announcements are ordered by seq within a boot, and stale ones ignored. Declared places beat learned ones. A node that
// is gone keeps its places (the data plane outlives the control plane) and they do not age until it is back.
type Locator struct {
	places map[ether.MAC]*placed
	nodes  map[overlay.Name]*reporter
	swept  time.Time
	limits limits
}

// placed is one MAC in the directory.
type placed struct {
	Place
	heard    time.Time   // last sign of it
	moved    time.Time   // last move
	moves    []time.Time // those that count towards freezing, at most movesToFreeze
	frozen   bool
	claimed  time.Time // last claim by another place
	refused  time.Time // last claim that was not believed; zero after a move
	why      string    // it was not believed, or is frozen
	reported time.Time // last conflict reported
}

// reporter is one node as a source of announcements.
type reporter struct {
	boot, seq uint64
	greeted   bool // boot is what its Hello said
	away      bool
	places    int       // of it in the directory
	refused   int       // claims to addresses that found no place
	refusedAt time.Time // when that was reported last
}

// NewLocator returns an empty directory.
func NewLocator() *Locator {
	return &Locator{places: map[ether.MAC]*placed{}, nodes: map[overlay.Name]*reporter{}}
}

// Announce takes what a node saw on its ports.
func (l *Locator) Announce(now time.Time, node overlay.Name, a Announce) []PlaceChange {
	r := l.reporter(node)
	if a.Boot < r.boot || a.Boot == r.boot && a.Seq <= r.seq || r.greeted && a.Boot != r.boot {
		return nil
	}
	r.boot, r.seq = a.Boot, a.Seq
	var out []PlaceChange
	for _, s := range a.Seen {
		if s.MAC.IsGroup() || s.MAC.IsZero() {
			continue
		}
		claim := Place{MAC: s.MAC, Node: node, Port: s.Port, IPs: s.IPs}
		if s.Gone {
			out = append(out, l.leave(claim)...)
		} else {
			out = append(out, l.claim(now, claim, s.Gratuitous)...)
		}
	}
	return out
}

// Declare takes a place the user states. It beats whatever was learned.
func (l *Locator) Declare(now time.Time, p Place) []PlaceChange {
	p.Declared = true
	return l.claim(now, p, false)
}

// Undeclare makes a declared place a learned one, which may move and age from now.
func (l *Locator) Undeclare(now time.Time, mac ether.MAC) []PlaceChange {
	p := l.places[mac]
	if p == nil || !p.Declared {
		return nil
	}
	p.Declared, p.heard = false, now
	return []PlaceChange{{Kind: PlaceUpdated, Place: p.Place, Why: "no longer declared"}}
}

// Heard notes a sign of life that is not an announcement: the node's counters say that the MAC sent.
func (l *Locator) Heard(now time.Time, node overlay.Name, mac ether.MAC) {
	if p := l.places[mac]; p != nil && p.Node == node {
		p.heard = now
	}
}

// NodeHere says that a node's control stream is there, and which start of its daemon is behind it: only what that announces counts
// from now on, also if its boot is the lower number because the clock of its machine was set back. Its places have their full
// age once more.
func (l *Locator) NodeHere(now time.Time, node overlay.Name, boot uint64) {
	r := l.reporter(node)
	r.away, r.greeted = false, true
	if r.boot != boot {
		r.boot, r.seq = boot, 0
	}
	for _, p := range l.places {
		if p.Node == node {
			p.heard = now
		}
	}
}

// NodeGone says that a node's control stream is gone. Its places stay.
func (l *Locator) NodeGone(node overlay.Name) { l.reporter(node).away = true }

// Away says whether a place belongs to a node whose control stream is gone.
func (l *Locator) Away(node overlay.Name) bool { return l.reporter(node).away }

// Forget removes a node that left the overlay for good, with all its places.
func (l *Locator) Forget(node overlay.Name) []PlaceChange {
	out := l.remove(func(p *placed) bool { return p.Node == node }, fmt.Sprintf("%s has left the overlay", node))
	delete(l.nodes, node)
	return out
}

// Tick ages what was not heard of and thaws what calmed down.
func (l *Locator) Tick(now time.Time) []PlaceChange {
	if now.Before(l.NextTime()) {
		return nil
	}
	l.swept = now
	var out []PlaceChange
	for _, mac := range l.macs() {
		p := l.places[mac]
		calm, left := now.Sub(p.claimed) >= freezeWindow, now.Sub(p.heard) >= freezeWindow
		if !p.frozen || !calm && !left {
			continue
		}
		why := fmt.Sprintf("nobody else claimed it for %v", freezeWindow)
		if !calm {
			why = fmt.Sprintf("%s has not sent with it for %v", p.Node, freezeWindow)
		}
		p.frozen, p.moves = false, nil
		out = append(out, PlaceChange{Kind: PlaceThawed, Place: p.Place, Why: why})
	}
	old := func(p *placed) bool {
		return !p.Declared && !l.reporter(p.Node).away && now.Sub(p.heard) >= macAgeing
	}
	return append(out, l.remove(old, fmt.Sprintf("not heard of for %v", macAgeing))...)
}

// NextTime is when the machine wants a Tick.
func (l *Locator) NextTime() time.Time { return l.swept.Add(ageingSweep) }

// Place is where a MAC lives.
func (l *Locator) Place(mac ether.MAC) (Place, bool) {
	p := l.places[mac]
	if p == nil {
		return Place{}, false
	}
	return p.Place, true
}

// Snapshot lists the whole directory, by MAC.
func (l *Locator) Snapshot() []Place {
	list := make([]Place, 0, len(l.places))
	for _, mac := range l.macs() {
		list = append(list, l.places[mac].Place)
	}
	return list
}

// Restore adds what a Snapshot kept; nothing that is known already is replaced.
func (l *Locator) Restore(now time.Time, list []Place) {
	for _, p := range list {
		if l.places[p.MAC] == nil && l.full(p.Node) == "" {
			l.places[p.MAC] = &placed{Place: p, heard: now}
			l.reporter(p.Node).places++
		}
	}
}

func (l *Locator) macs() []ether.MAC {
	return slices.SortedFunc(maps.Keys(l.places), ether.MAC.Compare)
}

func (l *Locator) reporter(node overlay.Name) *reporter {
	r := l.nodes[node]
	if r == nil {
		r = &reporter{}
		l.nodes[node] = r
	}
	return r
}

func (l *Locator) remove(which func(*placed) bool, why string) []PlaceChange {
	var out []PlaceChange
	for _, mac := range l.macs() {
		if p := l.places[mac]; which(p) {
			delete(l.places, mac)
			l.reporter(p.Node).places--
			out = append(out, PlaceChange{Kind: PlaceGone, Place: p.Place, Why: why})
		}
	}
	return out
}

func (l *Locator) leave(claim Place) []PlaceChange {
	p := l.places[claim.MAC]
	if p == nil || p.Declared || p.Node != claim.Node || p.Port != claim.Port {
		return nil
	}
	return l.remove(func(q *placed) bool { return q == p }, fmt.Sprintf("%s no longer has it", p.Node))
}

// mergeIPs adds addresses in order and says whether any was new.
func mergeIPs(have, seen []netip.Addr) ([]netip.Addr, bool) {
	merged := slices.Clone(have)
	for _, ip := range seen {
		if ip.IsValid() && len(merged) < maxIPs && !slices.Contains(merged, ip) {
			merged = append(merged, ip)
		}
	}
	slices.SortFunc(merged, netip.Addr.Compare)
	return merged, len(merged) > len(have)
}
