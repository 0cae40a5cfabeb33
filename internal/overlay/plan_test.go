package overlay

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// story prints stages for a reader: one line a node and stage.
func story(s Stages) string {
	var b strings.Builder
	for i, stage := range s.InOrder() {
		for _, at := range slices.Sorted(maps.Keys(stage)) {
			n := stage[at]
			fmt.Fprintf(&b, "%s %s:", [4]string{"prepare", "flip", "finish", "delete"}[i], at)
			for _, l := range n.OpenLinks {
				fmt.Fprintf(&b, " open %s-%s", l.A, l.B)
			}
			for _, r := range n.AddRules {
				fmt.Fprintf(&b, " +%d", r.ID)
			}
			for _, r := range n.DeleteRules {
				fmt.Fprintf(&b, " -%d", r.ID)
			}
			for _, l := range n.CloseLinks {
				fmt.Fprintf(&b, " close %s-%s", l.A, l.B)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	star := hosts(3)
	direct := star.Clone()
	direct.AddLink(MakeLink("h0", "h2", OriginAdapted))
	direct.AddRule("h0", Rule{ID: 100, Src: ExactMAC(mac(0)), Dst: ExactMAC(mac(2)), Out: AtLink("h2")})
	direct.AddRule("h2", Rule{ID: 101, Src: ExactMAC(mac(2)), Dst: ExactMAC(mac(0)), Out: AtLink("h0")})
	around := star.Clone()
	around.AddLink(MakeLink("h0", "h1", OriginAdapted))
	around.AddLink(MakeLink("h1", "h2", OriginAdapted))
	around.AddRule("h0", Rule{ID: 200, Src: ExactMAC(mac(0)), Dst: ExactMAC(mac(2)), Out: AtLink("h1")})
	around.AddRule("h1", Rule{ID: 201, Src: ExactMAC(mac(0)), Dst: ExactMAC(mac(2)), Out: AtLink("h2")})
	for _, tt := range []struct {
		name     string
		from, to *Overlay
		want     string
	}{
		{"nothing", star, star.Clone(), ""},
		{"a fast path", star, direct, `prepare h0: open h0-h2
prepare h2: open h0-h2
flip h0: +100
flip h2: +101
`},
		{"and away again", direct, star, `finish h0: -100
finish h2: -101
delete h0: close h0-h2
delete h2: close h0-h2
`},
		{"another way", direct, around, `prepare h0: open h0-h1
prepare h1: open h0-h1 open h1-h2 +201
prepare h2: open h1-h2
flip h0: +200 -100
finish h2: -101
delete h0: close h0-h2
delete h2: close h0-h2
`},
	} {
		s, err := Plan(tt.from, tt.to)
		if err != nil || story(s) != tt.want || s.Lossy != nil {
			t.Errorf("%s: %v, lossy %v, got\n%swant\n%s", tt.name, err, s.Lossy, story(s), tt.want)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	star := hosts(3)
	ring := star.Clone()
	for i := range 3 {
		next := Name(fmt.Sprintf("h%d", (i+1)%3))
		ring.AddLink(MakeLink(Name(fmt.Sprintf("h%d", i)), next, OriginUser))
		ring.AddRule(Name(fmt.Sprintf("h%d", i)), rule(t, "src any dst vm9 to link:"+string(next)))
	}
	_, err := Plan(star, ring)
	var refused *CycleError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "in the end frames src other dst 02:00:00:aa:00:09 would circle: h0 from link:h2 to link:h1") {
		t.Errorf("a ring of rules: %v", err)
	}
	again := star.Clone()
	again.Nodes["h0"].Rules[0].Out = AtLink("h1")
	if _, err := Plan(star, again); err == nil || !strings.Contains(err.Error(), "give the new rule a new number") {
		t.Errorf("a number used twice: %v", err)
	}
}

func TestDiff(t *testing.T) {
	from, to := hosts(2), hosts(2)
	bus(to, 2)
	steps := Diff(from, to)
	var text []string
	for _, s := range append(steps, Diff(to, from)...) {
		text = append(text, s.String())
	}
	got := strings.Join(text, "\n")
	want := `open link h0 h1
add rule at h0: from any src 02:00:00:aa:00:00 dst 02:00:00:aa:00:01 to link:h1
add rule at h1: from any src 02:00:00:aa:00:01 dst 02:00:00:aa:00:00 to link:h0
delete rule 7 at h0: from any src 02:00:00:aa:00:00 dst 02:00:00:aa:00:01 to link:h1
delete rule 8 at h1: from any src 02:00:00:aa:00:01 dst 02:00:00:aa:00:00 to link:h0
close link h0 h1`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := Diff(to, to.Clone()); len(again) > 0 {
		t.Errorf("a second time: %v", again)
	}
}

// stageTwin plays each stage on whole overlays, each node ahead or not.
func stageTwin(t *rapid.T, from, to *Overlay, s Stages) {
	now := from.Clone()
	now.Links = slices.Concat(from.Links, to.Links)
	end := to.Clone()
	end.Links = now.Links
	for i, stage := range s.InOrder() {
		ahead := slices.Sorted(maps.Keys(stage))
		for subset := range 1 << len(ahead) {
			mix := now.Clone()
			for j, at := range ahead {
				if subset&(1<<j) != 0 {
					mix.Nodes[at].Rules = stage[at].apply(mix.Nodes[at].Rules)
				}
			}
			if bad := trouble(mix, Condition{}); bad != "" {
				t.Fatalf("stage %d, subset %b: %s\nfrom\n%sto\n%s%s", i, subset, bad, dump(from), dump(to), story(s))
			}
			if lost := losses(from, mix, end); lost != "" && s.Lossy == nil {
				t.Fatalf("stage %d, subset %b: %s\nfrom\n%sto\n%s%s", i, subset, lost, dump(from), dump(to), story(s))
			}
		}
		for _, at := range ahead {
			now.Nodes[at].Rules = stage[at].apply(now.Nodes[at].Rules)
		}
	}
	if left := Diff(now, end); len(left) > 0 {
		t.Fatalf("after all stages there is left: %v", left)
	}
}

func losses(from, mix, to *Overlay) string {
	for name, n := range from.Nodes {
		for _, p := range n.Ports {
			for src := range 4 {
				for dst := range 4 {
					a, _ := outcome(from, name, AtPort(p.Name), mac(src), mac(dst), Condition{})
					b, _ := outcome(to, name, AtPort(p.Name), mac(src), mac(dst), Condition{})
					now, _ := outcome(mix, name, AtPort(p.Name), mac(src), mac(dst), Condition{})
					for port := range a {
						if b[port] > 0 && now[port] == 0 {
							return fmt.Sprintf("%d->%d from %s %s does not come to %s", src, dst, name, p.Name, port)
						}
					}
				}
			}
		}
	}
	return ""
}

func TestPlanAgainstTwin(t *testing.T) {
	planned, lossy, refused := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		from := drawOverlay(t)
		to := from.Clone()
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			at := rapid.SampledFrom([]Name{"p", "a", "b", "c"}).Draw(t, "where")
			if rules := to.Nodes[at].Rules; len(rules) > 0 && rapid.Bool().Draw(t, "remove") {
				to.RemoveRule(at, rapid.SampledFrom(rules).Draw(t, "rule").ID)
			} else {
				next := max(from.NextID(), to.NextID())
				drawRule(t, to)
				renumber(to, from, next)
			}
		}
		if len(from.Cycles()) > 0 {
			return
		}
		s, err := Plan(from, to)
		switch {
		case err != nil:
			refused++
			return
		case s.Lossy != nil:
			lossy++
		default:
			planned++
		}
		stageTwin(t, from, to, s)
	})
	t.Logf("%d planned, %d with possible losses, %d refused", planned, lossy, refused)
}

// renumber gives rules that are new in o numbers that old never used.
func renumber(o, old *Overlay, next uint64) {
	for name, n := range o.Nodes {
		for i := range n.Rules {
			if r := &n.Rules[i]; !slices.ContainsFunc(old.Nodes[name].Rules, r.SameAs) && r.ID < next {
				if slices.ContainsFunc(old.Nodes[name].Rules, func(was Rule) bool { return was.ID == r.ID }) {
					r.ID, next = next, next+1
				}
			}
		}
	}
}
