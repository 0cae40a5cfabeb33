package forward

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// twin is one node of an overlay, whose Decide looks at every rule, beside the table of the same node.
type twin struct {
	at    overlay.Name
	slow  *overlay.Overlay
	cond  overlay.Condition
	names map[Side]overlay.Side
	table *Table
	cache *Cache
	next  uint64
}

func newTwin(proxy bool) *twin {
	w := &twin{at: "h", slow: overlay.New("p"), cache: NewCache(8), next: 1}
	f := Flood{Proxy: proxy, Seed: 42}
	for _, n := range []overlay.Name{"a", "b", "h"} {
		w.slow.Nodes[n] = &overlay.Node{Name: n}
	}
	links := []overlay.Name{"p", "a", "b"}
	if proxy {
		w.at, links = "p", []overlay.Name{"a", "b", "h"}
	}
	w.names = map[Side]overlay.Side{AnySide: {}}
	for i, peer := range links {
		w.names[LinkSide(i)] = overlay.AtLink(peer)
		if proxy || i == 0 {
			f.Star = append(f.Star, LinkSide(i))
		} else {
			w.slow.AddLink(overlay.MakeLink("h", peer, overlay.OriginUser))
		}
	}
	node := w.slow.Nodes[w.at]
	w.cond = overlay.Condition{DownPorts: map[overlay.Name][]overlay.Side{}, BlockedPorts: map[overlay.Name][]overlay.Side{}}
	for i := range 3 {
		name := fmt.Sprintf("p%d", i)
		w.names[PortSide(i)] = overlay.AtPort(name)
		f.Ports = append(f.Ports, PortSide(i))
		node.Ports = append(node.Ports, overlay.Port{Name: name})
	}
	w.table = New(f)
	return w
}

var (
	sides = []Side{LinkSide(0), LinkSide(1), LinkSide(2), PortSide(0), PortSide(1), PortSide(2)}
	macs  = []ether.MAC{{2, 1}, {2, 2}, {2, 3}, {2, 4}, {255, 255, 255, 255, 255, 255}, {1, 0x80, 0xc2, 0, 0, 2}}
)

func drawMatch(t *rapid.T, kinds []overlay.MatchKind, label string) overlay.Match {
	m := overlay.Match{Kind: rapid.SampledFrom(kinds).Draw(t, label)}
	if m.Kind == overlay.Exact || m.Kind == overlay.Not {
		m.MAC = rapid.SampledFrom(macs[:5]).Draw(t, "mac")
	}
	return m
}

func (w *twin) add(t *rapid.T) {
	r := Rule{
		ID:      w.next,
		Arrival: rapid.SampledFrom(append([]Side{AnySide, AnySide}, sides...)).Draw(t, "arrival"),
		Src:     drawMatch(t, []overlay.MatchKind{overlay.Exact, overlay.Not, overlay.Any}, "src"),
		Dst:     drawMatch(t, []overlay.MatchKind{overlay.Exact, overlay.Not, overlay.Any, overlay.None}, "dst"),
		Out:     rapid.SampledFrom(sides).Draw(t, "out"),
	}
	if rapid.IntRange(0, 3).Draw(t, "learned") == 0 {
		r.Arrival, r.Src, r.Origin = AnySide, overlay.Match{Kind: overlay.Any}, overlay.OriginLearned
		r.Dst = overlay.Match{Kind: overlay.Exact, MAC: rapid.SampledFrom(macs[:4]).Draw(t, "seen")}
	}
	slow := overlay.Rule{ID: r.ID, Arrival: w.names[r.Arrival], Src: r.Src, Dst: r.Dst, Out: w.names[r.Out], Origin: r.Origin}
	table, err := w.table.With([]Rule{r}, nil)
	refused := slow.Check() != nil || w.slow.Flood && r.Dst.Kind == overlay.Exact && r.Dst.MAC.IsGroup()
	if (err != nil) != refused {
		t.Fatalf("%v: %v, want refused: %v", slow, err, refused)
	}
	if err == nil {
		w.table, w.next = table, w.next+1
		node := w.slow.Nodes[w.at]
		node.Rules = append(node.Rules, slow)
	}
}

func (w *twin) remove(t *rapid.T) {
	node := w.slow.Nodes[w.at]
	if len(node.Rules) == 0 {
		return
	}
	id := rapid.SampledFrom(node.Rules).Draw(t, "rule").ID
	table, err := w.table.With(nil, []uint64{id})
	if err != nil {
		t.Fatal(err)
	}
	w.table = table
	w.slow.RemoveRule(w.at, id)
}

func (w *twin) down(t *rapid.T) {
	side, on := rapid.SampledFrom(sides).Draw(t, "side"), rapid.Bool().Draw(t, "down")
	w.table = w.table.WithDown(side, on)
	if name := w.names[side]; side.IsLink() {
		l := overlay.MakeLink(w.at, name.Peer(), 0)
		w.cond.DownLinks = slices.DeleteFunc(w.cond.DownLinks, l.SameEnds)
		if on {
			w.cond.DownLinks = append(w.cond.DownLinks, l)
		}
	} else {
		setSide(w.cond.DownPorts, w.at, name, on)
	}
}

func (w *twin) block(t *rapid.T) {
	side, on := rapid.SampledFrom(sides[3:]).Draw(t, "side"), rapid.Bool().Draw(t, "blocked")
	w.table = w.table.WithBlocked(side, on)
	setSide(w.cond.BlockedPorts, w.at, w.names[side], on)
}

func setSide(set map[overlay.Name][]overlay.Side, at overlay.Name, side overlay.Side, on bool) {
	set[at] = slices.DeleteFunc(set[at], func(s overlay.Side) bool { return s == side })
	if on {
		set[at] = append(set[at], side)
	}
}

func (w *twin) flood(t *rapid.T) {
	f := w.table.Flood()
	f.Off = !f.Off
	w.table, w.slow.Flood = w.table.WithFlood(f), !f.Off
}

// compare asks both about every flow there can be.
func (w *twin) compare(t *rapid.T) {
	for _, arrival := range sides {
		for _, src := range macs[:4] {
			for _, dst := range macs {
				want := w.slow.Decide(w.at, w.names[arrival], src, dst, w.cond)
				for how, got := range map[string]Verdict{
					"table": w.table.Decide(arrival, src, dst),
					"cache": w.cache.Decide(w.table, arrival, src, dst),
					"again": w.cache.Decide(w.table, arrival, src, dst),
				} {
					if !w.same(got, want) {
						t.Fatalf("%s: %v %v->%v\n got %+v\nwant %+v\nrules %v", how, arrival, src, dst, got, want, w.slow.Nodes[w.at].Rules)
					}
				}
			}
		}
	}
}

func (w *twin) same(got Verdict, want overlay.Verdict) bool {
	outs := map[overlay.Side]bool{}
	for _, s := range got.Outs {
		outs[w.names[s]] = true
	}
	for _, s := range want.Outs {
		if !outs[s] {
			return false
		}
	}
	return len(got.Outs) == len(want.Outs) && got.Action == want.Action && got.Reason == want.Reason && got.Tied == want.Tied &&
		got.Rule == want.Rule.ID && got.Rank == want.Rank && w.names[got.Out] == want.Out
}

func TestTableAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwin(rapid.Bool().Draw(t, "proxy"))
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			switch rapid.IntRange(0, 9).Draw(t, "change") {
			case 0:
				w.flood(t)
			case 1:
				w.down(t)
			case 2:
				w.block(t)
			case 3, 4:
				w.remove(t)
			default:
				w.add(t)
			}
			w.compare(t)
		}
	})
}
