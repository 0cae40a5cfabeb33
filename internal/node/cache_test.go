package node

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

func put(t *testing.T, disk *store.Store, key string, value any) {
	t.Helper()
	text, isText := value.(string)
	data := []byte(text)
	if !isText {
		var err error
		if data, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Put(cacheBucket, key, data); err != nil {
		t.Fatal(err)
	}
}

// A host that restarts without its Proxy has what it had; what has been damaged
// is left out, and the rest is used.
func TestCacheIsRestoredAsFarAsItCanBeRead(t *testing.T) {
	good := cachedRule{ID: 3, Rule: "from port:vm1 src any dst " + mac(9).String() + " to link:h2", Origin: "user"}
	peer := control.LinkSpec{Peer: "h2", Dial: true, Origin: overlay.OriginUser, PeerAddrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.3:4500")}}
	home := control.Place{MAC: mac(9), Node: "h2", Port: "vm1", Mobility: 4}
	rows := []struct {
		name                 string
		write                func(*store.Store)
		rules, links, places int
		generation           uint64
	}{
		{"nothing yet", func(*store.Store) {}, 0, 0, 0, 0},
		{"whole", func(d *store.Store) {
			put(t, d, keyRules, []cachedRule{good})
			put(t, d, keyLinks, []control.LinkSpec{peer})
			put(t, d, keyPlaces, []control.Place{home})
			put(t, d, keyProxy, cachedProxy{Name: "proxy", Generation: 5, ProbeKey: []byte("key")})
		}, 1, 1, 1, 5},
		{"no text at all", func(d *store.Store) {
			for _, key := range []string{keyRules, keyLinks, keyPlaces, keyProxy} {
				put(t, d, key, "\x00\xff{")
			}
		}, 0, 0, 0, 0},
		{"rules that make no sense beside one that does", func(d *store.Store) {
			put(t, d, keyRules, []cachedRule{
				{ID: 1, Rule: "from nowhere", Origin: "user"}, {ID: 2, Rule: good.Rule, Origin: "heaven"}, good,
				good, {ID: 0, Rule: good.Rule, Origin: "user"}, {ID: learnedBit | 7, Rule: good.Rule, Origin: "user"},
				{ID: 4, Rule: "src any dst any to port:gone", Origin: "user"},
			})
		}, 1, 0, 0, 0},
		{"links to nobody, to oneself and to the Proxy", func(d *store.Store) {
			put(t, d, keyLinks, []control.LinkSpec{{}, {Peer: "h1"}, {Peer: "proxy"}, {Peer: "No Name"}, peer})
		}, 0, 1, 0, 0},
		{"places nowhere and here", func(d *store.Store) {
			put(t, d, keyPlaces, []control.Place{{MAC: mac(7)}, {MAC: mac(8), Node: "h1", Port: "vm1"}, home})
		}, 0, 0, 1, 0},
	}
	for _, row := range rows {
		disk := store.Memory()
		row.write(disk)
		b := newBench(t, func(c *Config) { c.Store = disk })
		links := 0
		for _, one := range b.slots {
			if one.wanted {
				links++
			}
		}
		if len(b.state.rules) != row.rules || links != row.links || len(b.places) != row.places || b.generation != row.generation {
			t.Errorf("%s: %d rules, %d links, %d places, generation %d", row.name, len(b.state.rules), links, len(b.places), b.generation)
		}
		if row.places > 0 && b.learnedRules[learnedID(mac(9))].Out != overlay.AtLink("proxy") {
			t.Errorf("%s: frames for a place that is known do not go up the star", row.name)
		}
	}
}

func TestDirectory(t *testing.T) {
	b := newBench(t)
	b.from(0, frame(mac(1), everybody()))
	b.drain()
	out := func(n int) overlay.Side { return b.learnedRules[learnedID(mac(n))].Out }
	b.rules(t, "src "+mac(1).String()+" dst "+mac(9).String()+" to link:h2", "src any dst "+mac(9).String()+" to link:h2")
	adapted := b.state.rules[1]
	adapted.Origin = overlay.OriginAdapted
	b.state.rules[1] = adapted

	b.directoryChanged(control.Directory{Version: 1, Full: true, Places: []control.Place{
		{MAC: mac(1), Node: "h1", Port: "vm1"}, {MAC: mac(9), Node: "h2", Port: "vm1"},
	}})
	if out(1) != overlay.AtPort("vm1") || out(9) != overlay.AtLink("proxy") {
		t.Errorf("known: %v, %v", out(1), out(9))
	}
	b.directoryChanged(control.Directory{Version: 2, Places: []control.Place{{MAC: mac(9), Node: "h3", Mobility: 1}}})
	if len(b.state.rules) != 1 || b.state.rules[2].ID == 0 {
		t.Errorf("a move retires what adaptation made and nothing else: %v", b.state.rules)
	}
	b.directoryChanged(control.Directory{Version: 3, Places: []control.Place{{MAC: mac(1), Node: "h3", Port: "vm1", Mobility: 1}}})
	if out(1) != overlay.AtLink("proxy") || len(b.local) != 0 || len(b.moved) != 1 {
		t.Errorf("moved away: %v, resident %v, stragglers %v", out(1), b.local, b.moved)
	}
	b.directoryChanged(control.Directory{Version: 4, Full: true})
	if len(b.places) != 0 || len(b.learnedRules) != 0 {
		t.Errorf("forgotten: %v, %v", b.places, b.learnedRules)
	}
}
