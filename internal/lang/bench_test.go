package lang

import (
	"fmt"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// large describes a shape over some hosts with some VMs each, every pair with rules hop by hop: about 10,000 rules.
func large(t testing.TB, shape string, hosts, vms int) *Meaning {
	l := Layout{Rules: AllRules}
	for i := range hosts {
		l.Nodes = append(l.Nodes, overlay.Name(fmt.Sprintf("h%d", i)))
		for j := range vms {
			l.VMs = append(l.VMs, VM{
				Name: fmt.Sprintf("vm%d-%d", i, j), MAC: ether.MAC{2, 0, 0, 0, byte(i), byte(j)}, Node: l.Nodes[i], Port: fmt.Sprintf("tap%d", j),
			})
		}
	}
	var err error
	if l.Edges, err = Edges(shape, hosts, 0, 0); err != nil {
		t.Fatal(err)
	}
	m, err := Generate(l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// liveOf is an overlay as a description says it, its rules numbered.
func liveOf(t testing.TB, m *Meaning) Live {
	f, err := Parse("t", Format(Describe(m)))
	if err != nil {
		t.Fatal(err)
	}
	m = f.Meaning()
	return Live{Overlay: m.Overlay(), Will: m.Will(), VMs: m.VMs}
}

// Benchmark10000Rules is what a description of 10,000 rules costs, at a few hosts with many VMs and at many hosts with one: to read, to
// look for circles in, to compare with the overlay, and to plan, from nothing, from another shape, and where nothing changes.
func Benchmark10000Rules(b *testing.B) {
	b.Run("8hosts64VMs", func(b *testing.B) { benchRules(b, large(b, "hypercube", 8, 8), large(b, "ring", 8, 8)) })
	b.Run("71hosts71VMs", func(b *testing.B) { benchRules(b, large(b, "all-to-all", 71, 1), large(b, "tree", 71, 1)) })
}

func benchRules(b *testing.B, to, before *Meaning) {
	text := Format(Describe(to))
	b.Logf("%d rules and %d links in %d bytes; from %d rules and %d links", len(to.Rules), len(to.Links), len(text), len(before.Rules), len(before.Links))
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := Parse("t", text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			if _, err := Check("t", text); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, from := range []struct {
		name string
		live Live
	}{{"star", liveOf(b, &Meaning{VMs: to.VMs})}, {"other", liveOf(b, before)}, {"same", liveOf(b, to)}} {
		target := from.live.To(to).Target
		next := max(from.live.Overlay.NextID(), target.NextID())
		for _, name := range target.Names() {
			for i := range target.Nodes[name].Rules {
				if r := &target.Nodes[name].Rules[i]; r.ID == 0 {
					r.ID = next
					next++
				}
			}
		}
		b.Run("compare/"+from.name, func(b *testing.B) {
			for b.Loop() {
				from.live.To(to)
			}
		})
		b.Run("plan/"+from.name, func(b *testing.B) {
			for b.Loop() {
				if s, err := overlay.Plan(from.live.Overlay, target); err != nil || s.Lossy != nil {
					b.Fatal(err, s.Lossy)
				}
			}
		})
	}
}
