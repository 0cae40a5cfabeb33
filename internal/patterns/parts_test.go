package patterns

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A stream is the same however it is cut, and the first wrong byte is found.
func TestContentIsAddressable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		whole := make([]byte, rapid.IntRange(1, 300).Draw(t, "length"))
		fill(whole, seed, 0)
		cut := rapid.IntRange(0, len(whole)).Draw(t, "cut") &^ 7
		part := make([]byte, len(whole)-cut)
		fill(part, seed, uint64(cut))
		if string(part) != string(whole[cut:]) || mismatch(part, seed, uint64(cut)) != -1 || mismatch(whole, seed, 0) != -1 {
			t.Fatalf("a stream of %d cut at %d differs", len(whole), cut)
		}
		bad := rapid.IntRange(0, len(whole)-1).Draw(t, "bad")
		whole[bad] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if got := mismatch(whole, seed, 0); got != bad {
			t.Fatalf("byte %d is wrong, found %d", bad, got)
		}
	})
}

func TestContentDiffersByMessage(t *testing.T) {
	seeds := map[uint64]bool{}
	for from := range 4 {
		for to := range 4 {
			for iteration := range uint64(4) {
				for phase := range 4 {
					seeds[contentSeed(from, to, iteration, phase)] = true
				}
			}
		}
	}
	if len(seeds) != 4*4*4*4 {
		t.Errorf("%d seeds for 256 messages", len(seeds))
	}
}

// go test -bench Content ./internal/patterns: must stay far above 2 GB/s, so that it is never the bottleneck.
func BenchmarkContent(b *testing.B) {
	buf := make([]byte, chunk)
	fill(buf, 1, 0)
	for name, work := range map[string]func(){
		"fill": func() { fill(buf, 1, 0) },
		"verify": func() {
			if mismatch(buf, 1, 0) != -1 {
				b.Fatal("differs")
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(chunk)
			for b.Loop() {
				work()
			}
		})
	}
}

func FuzzHeader(f *testing.F) {
	b := make([]byte, headerLen)
	header{Kind: kindData, Flags: flagFinal, Phase: 3, From: 1, To: 2, Turn: 4, Iteration: 5, Length: 6, Until: 7}.put(b)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerLen {
			return
		}
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		again := make([]byte, headerLen)
		h.put(again)
		if string(again) != string(b[:headerLen]) {
			t.Fatalf("% x became % x", b[:headerLen], again)
		}
	})
}

// The news of an end reaches every rank before it would start the iteration after it, whatever the pace.
// The model allows no more than the protocol promises: a rank that starts iteration k has heard what its
// neighbours on a bus, the longest graph, knew when they finished k-window.
func TestAgreementReachesEveryoneInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.IntRange(2, 9).Draw(t, "ranks")
		c := clock{length: time.Duration(rapid.IntRange(1, 50).Draw(t, "length")), last: true,
			margin: uint64(window * (ranks - 1)), started: time.Unix(0, 0)}
		know := make([]agreement, ranks)
		knew := make([][]header, ranks) // of each iteration a rank finished
		for i := range know {
			know[i].until = unknown
		}
		// try starts and finishes a rank's next iteration, unless it has to wait or has come to its end.
		try := func(i int, now time.Time) bool {
			k := len(knew[i])
			for _, n := range []int{i - 1, i + 1} {
				if n < 0 || n >= ranks || k < window {
					continue
				}
				if len(knew[n]) <= k-window {
					return false
				}
				know[i].hear(knew[n][k-window])
			}
			if i == 0 {
				know[0].decide(now, uint64(k), c)
			}
			if uint64(k) > know[i].until {
				return false
			}
			h := header{}
			know[i].mark(&h)
			knew[i] = append(knew[i], h)
			return true
		}
		order := rapid.Permutation(slices.Collect(ints(ranks))).Draw(t, "order")
		for now, moved := time.Unix(0, 0), true; moved; now = now.Add(1) {
			moved = false
			for _, i := range order {
				for range rapid.IntRange(1, 3).Draw(t, "burst") {
					moved = try(i, now) || moved
				}
			}
		}
		for i := range ranks {
			if len(knew[i]) != len(knew[0]) || !know[i].final {
				t.Fatalf("rank %d did %d iterations, rank 0 did %d: %+v", i, len(knew[i]), len(knew[0]), know[i])
			}
		}
	})
}

// ints counts from 0 to n-1.
func ints(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
