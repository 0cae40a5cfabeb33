package proxy

import (
	"strings"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// ruleOf reads "ID rule".
func ruleOf(t *testing.T, id uint64, text string) overlay.Rule {
	t.Helper()
	r, err := overlay.ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	r.ID, r.Origin = id, overlay.OriginUser
	return r
}

// What nodes hold is compared with the record; the steps are those that put it right.
func TestHoldingIsComparedWithTheRecord(t *testing.T) {
	one := ruleOf(t, 1, "from any src any dst 52:54:00:00:00:02 to link:host2")
	two := ruleOf(t, 2, "from any src any dst 52:54:00:00:00:03 to port:vm1")
	gone := ruleOf(t, 3, "from any src any dst 52:54:00:00:00:04 to port:nowhere")
	old := ruleOf(t, 9, "from any src any dst 52:54:00:00:00:09 to link:proxy")
	twin := two
	twin.ID = 8
	hello := func(links string, rules ...overlay.Rule) control.Hello {
		h := control.Hello{Rules: rules}
		for _, peer := range strings.Fields(links) {
			h.Links = append(h.Links, control.LinkInfo{Peer: overlay.Name(peer)})
		}
		return h
	}
	for name, c := range map[string]struct {
		held map[overlay.Name]control.Hello
		want string
	}{
		"all as it should be": {map[overlay.Name]control.Hello{"host1": hello("proxy host2", one, two), "host2": hello("proxy host1")}, ""},
		"a leftover and a hole": {map[overlay.Name]control.Hello{"host1": hello("host2", old, one), "host2": hello("host1")},
			"add rule at host1: " + two.String() + "\ndelete rule 9 at host1: " + old.String()},
		"the same twice: the one that is not of the record goes": {map[overlay.Name]control.Hello{"host1": hello("host2", twin, one, two)},
			"delete rule 8 at host1: " + twin.String()},
		"one end lacks the link": {map[overlay.Name]control.Hello{"host1": hello("", one, two), "host2": hello("host1")}, "open link host1 host2"},
		"its peer is away":       {map[overlay.Name]control.Hello{"host1": hello("", one, two)}, ""},
		"a link too many":        {map[overlay.Name]control.Hello{"host1": hello("host2 host3", one, two)}, "close link host1 host3"},
	} {
		record := overlay.New("proxy")
		for _, host := range []overlay.Name{"host1", "host2", "host3"} {
			record.Nodes[host] = &overlay.Node{Name: host, Ports: []overlay.Port{{Name: "vm1"}}}
		}
		record.Nodes["host1"].Rules = []overlay.Rule{one, two, gone}
		record.AddLink(overlay.MakeLink("host1", "host2", overlay.OriginUser))
		var lines []string
		for _, s := range overlay.Diff(holding(record, c.held), record) {
			lines = append(lines, s.String())
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, c.want)
		}
	}
}

func TestNumbersOfTheSameRuleAgree(t *testing.T) {
	mine := ruleOf(t, 1, "from any src any dst 52:54:00:00:00:02 to link:host2")
	same, other := mine, ruleOf(t, 1, "from any src any dst 52:54:00:00:00:03 to link:host2")
	same.ID = 7
	h := &hub{nextID: 20, ids: 100, sure: 100}
	for name, c := range map[string]struct {
		held []overlay.Rule
		want uint64
	}{
		"agreed":                     {[]overlay.Rule{same, mine}, 1},
		"not held":                   {nil, 1},
		"held under another number":  {[]overlay.Rule{same}, 7},
		"another one has its number": {[]overlay.Rule{other}, 20},
		"both":                       {[]overlay.Rule{other, same}, 7},
	} {
		r := mine
		changed := h.alignRule(&r, holdsOf(c.held))
		if r.ID != c.want || changed != (c.want != 1) {
			t.Errorf("%s: rule %d, changed %v; want rule %d", name, r.ID, changed, c.want)
		}
	}
}
