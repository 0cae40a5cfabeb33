package adapt

import (
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// What other systems do, in the same daemon: from the same traffic each policy makes its own links.
func TestPoliciesToCompareWith(t *testing.T) {
	matrix := func(mb12, mb23 int) []vttif.Entry {
		entry := func(a, b, mb int) vttif.Entry {
			return vttif.Entry{Pair: vttif.Pair{Src: mac(a), Dst: mac(b)}, Total: vttif.Tally{OfferedBytes: uint64(mb) << 20}}
		}
		return []vttif.Entry{entry(1, 2, mb12), entry(2, 3, mb23)}
	}
	type look struct {
		at         int // seconds
		mb12, mb23 int // so far
		want       string
	}
	for _, row := range []struct {
		policy, told string
		looks        []look
	}{
		{policy: "star", looks: []look{{0, 0, 0, ""}, {1, 50, 50, ""}}},
		{policy: "mesh", looks: []look{{0, 0, 0, "host1–host2 host1–host3 host2–host3"}, {300, 0, 0, "host1–host2 host1–host3 host2–host3"}}},
		{policy: "oracle", told: "vm3=vm2, 02:00:00:00:00:01=host3/vm3", looks: []look{{0, 0, 0, "host1–host3 host2–host3"}}},
		{policy: "first-packet", looks: []look{
			{0, 1, 0, ""}, {1, 1, 1, "host2–host3"}, {2, 2, 1, "host1–host2 host2–host3"}, {180, 3, 1, "host1–host2 host2–host3"}, {182, 3, 1, "host1–host2"}, {361, 3, 1, ""},
		}},
		{policy: "byte-threshold", looks: []look{
			{0, 0, 0, ""}, {5, 9, 9, ""}, {9, 11, 9, "host1–host2"}, {11, 11, 11, "host1–host2 host2–host3"}, {20, 12, 20, "host1–host2 host2–host3"}, {192, 13, 20, ""},
		}},
	} {
		t.Run(row.policy, func(t *testing.T) {
			o, p := star(3), NewPlanner(Config{Policy: row.policy, Told: row.told})
			for _, l := range row.looks {
				v := View{Overlay: o, Topology: topology(1, [3]int{1, 3, 50}), Matrix: matrix(l.mb12, l.mb23)}
				if got, ok := p.Step(start.Add(time.Duration(l.at)*time.Second), v); ok {
					o = carryOut(got)
				}
				var links []string
				for _, l := range o.Links {
					links = append(links, EndsOf(l.A, l.B).String())
				}
				if got := strings.Join(links, " "); got != l.want {
					t.Errorf("at %d s: links %q, want %q", l.at, got, l.want)
				}
			}
		})
	}
}

func TestPolicyNames(t *testing.T) {
	if p, err := PolicyNamed(""); p.Name != "fastpath" || err != nil {
		t.Errorf("the default is %q, %v", p.Name, err)
	}
	for _, bad := range []Config{{Policy: "best"}, {MaxLinks: -1}, {MaxPerNode: -1}, {Policy: "oracle", Told: "vm1"}, {Told: "=vm1"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is allowed", bad)
		}
	}
	if err := (Config{Policy: "oracle", Told: "vm1=vm2,vm2=vm3"}).Check(); err != nil {
		t.Error(err)
	}
}
