package overlay

import (
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func TestValidate(t *testing.T) {
	if errs := hosts(3).Validate(); len(errs) > 0 {
		t.Errorf("a healthy star: %v", errs)
	}
	for _, tt := range []struct {
		name  string
		spoil func(o *Overlay)
		want  string
	}{
		{"no Proxy", func(o *Overlay) { o.Proxy = "q" }, `"q" is not among the nodes`},
		{"link to nobody", func(o *Overlay) { o.AddLink(MakeLink("h0", "zz", 0)) }, "both ends must be nodes"},
		{"ends the wrong way round", func(o *Overlay) { o.Links = append(o.Links, Link{A: "h1", B: "h0"}) }, "in order of their names"},
		{"two links", func(o *Overlay) { o.Links = append(o.Links, o.Links[0]) }, "one is enough"},
		{"number twice", func(o *Overlay) { o.Nodes["h0"].Rules[1].ID = o.Nodes["h0"].Rules[0].ID }, "give one another number"},
		{"unknown port", func(o *Overlay) { o.AddRule("h0", rule(t, "src any dst vm1 to port:w")) }, "h0 has no port:w; it has port:v link:p"},
		{"unknown link", func(o *Overlay) { o.AddRule("h0", rule(t, "from link:h2 src any dst vm1 to port:v")) }, "h0 has no link:h2"},
		{"group", func(o *Overlay) { o.AddRule("h0", rule(t, "src any dst ff:ff:ff:ff:ff:ff to link:p")) }, "only the flood tree"},
		{"two ports", func(o *Overlay) { o.Nodes["h0"].Ports = append(o.Nodes["h0"].Ports, Port{Name: "v"}) }, "two ports"},
		{"VM nowhere", func(o *Overlay) { o.VMs[mac(7)] = VM{MAC: mac(7), Node: "zz"} }, `no node "zz"`},
		{"VM with a group address", func(o *Overlay) { m := ether.MAC{1}; o.VMs[m] = VM{MAC: m, Node: "h0"} }, "one unicast address"},
	} {
		o := hosts(3)
		tt.spoil(o)
		errs := o.Validate()
		found := false
		for _, err := range errs {
			found = found || strings.Contains(err.Error(), tt.want)
		}
		if !found {
			t.Errorf("%s: %v, want %q", tt.name, errs, tt.want)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	o := hosts(2)
	c := o.Clone()
	c.Nodes["h0"].Rules[0].Out = AtLink("x")
	c.Nodes["h0"].Ports[0].Name = "w"
	c.AddLink(MakeLink("h0", "h1", 0))
	delete(c.VMs, mac(0))
	if len(Diff(o, hosts(2))) > 0 || o.Nodes["h0"].Ports[0].Name != "v" || len(o.VMs) != 2 {
		t.Error("a change of the copy reached the original")
	}
	if !c.RemoveLink("h1", "h0") || c.RemoveLink("h1", "h0") {
		t.Error("a link can be removed once")
	}
}
