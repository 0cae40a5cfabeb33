package overlay

import "testing"

func BenchmarkPlanStarToBus8(b *testing.B) {
	star, to := hosts(8), hosts(8)
	bus(to, 8)
	for b.Loop() {
		if s, err := Plan(star, to); err != nil || s.Lossy != nil {
			b.Fatal(err, s.Lossy)
		}
	}
}

// BenchmarkCyclesOfOneRule is the check of one rule into an overlay of 20 hosts and 400 addresses.
func BenchmarkCyclesOfOneRule(b *testing.B) {
	o := hosts(20)
	id := o.NextID()
	for i := 20; i < 400; i++ {
		for at, n := range o.Nodes {
			r := Rule{ID: id, Src: Match{Kind: Any}, Dst: ExactMAC(mac(i)), Out: AtLink("p")}
			if at == "p" {
				r.Out = AtLink("h1")
			}
			n.Rules = append(n.Rules, r)
			id++
		}
	}
	r, _ := o.AddRule("h0", Rule{Src: ExactMAC(mac(0)), Dst: ExactMAC(mac(3)), Out: AtLink("h3")})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			o.CyclesOf(r)
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			o.Cycles()
		}
	})
}
