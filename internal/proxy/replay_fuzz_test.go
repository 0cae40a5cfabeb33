package proxy

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// journalLine is one decision about two VMs, as it is exported.
func journalLine(t testing.TB) []byte {
	t.Helper()
	o := overlay.New("proxy")
	var g vttif.Group
	for i, name := range []overlay.Name{"h1", "h2"} {
		m := ether.MAC{2, 0, 0, 0, 0, byte(i)}
		o.Nodes[name] = &overlay.Node{Name: name, Ports: []overlay.Port{{Name: "vm"}}}
		o.VMs[m] = overlay.VM{MAC: m, Node: name, Port: "vm"}
		g.VMs = append(g.VMs, m)
	}
	g.Edges, g.Rate = []vttif.Edge{{A: g.VMs[0], B: g.VMs[1], Rate: 1e6}}, 1e6
	v := adapt.View{Overlay: o, Topology: vttif.Topology{Version: 1, Edges: g.Edges, Groups: []vttif.Group{g}}}
	now := time.Unix(1, 0).UTC()
	planner := adapt.NewPlanner(adapt.Config{})
	proposal, ok := planner.Step(now, v)
	if !ok {
		t.Fatal("nothing is proposed")
	}
	past := pastChange{what: proposal.Reason, by: "fastpath", proposal: &proposal, started: now, outcome: committed, run: 1}
	(&journal{}).open(&past, planner.Fill(v))
	text, err := past.entry()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Whatever a file says, it is replayed or refused.
func FuzzReplan(f *testing.F) {
	line := journalLine(f)
	f.Add(line)
	for _, part := range []string{"view", "proposal", "topology", "overlay"} { // without, and with nothing in it
		var all map[string]json.RawMessage
		if err := json.Unmarshal(line, &all); err != nil {
			f.Fatal(err)
		}
		all[part] = json.RawMessage("{}")
		text, _ := json.Marshal(all)
		f.Add(text)
	}
	recording := recordRing(f)
	f.Add(recording[:bytes.IndexByte(recording[4000:], '\n')+4000])
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, p := range adapt.Policies() {
			_, _ = Replan(bytes.NewReader(text), p.Name, "vm1=vm2", func(Decision) {})
		}
		_, _ = Replay(bytes.NewReader(text), nil)
	})
}
