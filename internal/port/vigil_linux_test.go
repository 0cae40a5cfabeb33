package port

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const µs = time.Microsecond

// looks plays a wait of a reader that looks every step until what it waits for comes, and says how often it looked and
// whether it slept.
func looks(p *vigil, now *time.Time, comes, step time.Duration) (n int, slept bool) {
	began := *now
	for p.begin(*now); p.more(*now); *now = now.Add(step) {
		n++
		if now.Sub(began) >= comes {
			return n, false
		}
	}
	if at := began.Add(comes); at.After(*now) {
		*now = at
	}
	p.woke(*now)
	return n, true
}

func TestVigilIsLearned(t *testing.T) {
	p, now := vigil{}, time.Unix(1000, 0)
	steps := []struct {
		what  string
		comes time.Duration
		step  time.Duration
		looks int
		slept bool
	}{
		{"at first it sleeps at once", 30 * µs, µs, 0, true},
		{"a short sleep teaches to look for the least", 30 * µs, µs, 10, true},
		{"then for twice as long", 30 * µs, µs, 20, true},
		{"until that is enough", 30 * µs, µs, 31, false},
		{"and it stays so", 5 * µs, µs, 6, false},
		{"what comes just too late makes it longer", 49 * µs, µs, 40, true},
		{"up to the most", 49 * µs, µs, 50, false},
		{"somebody else who takes the processor ends the looking", 40 * µs, 11 * µs, 1, true},
		{"but not its length", 40 * µs, µs, 41, false},
		{"a long sleep does", 51 * µs, µs, 50, true},
		{"an idle reader never looks", time.Hour, µs, 0, true},
		{"however often it is woken", time.Millisecond, µs, 0, true},
		{"nor after one that was no shorter", 51 * µs, µs, 0, true},
		{"work in succession teaches again", 50 * µs, µs, 0, true},
		{"as before", 5 * µs, µs, 6, false},
	}
	for _, s := range steps {
		n, slept := looks(&p, &now, s.comes, s.step)
		if n != s.looks || slept != s.slept {
			t.Errorf("%s: looked %d times, want %d; slept %v, want %v", s.what, n, s.looks, slept, s.slept)
		}
	}
}

// TestNoVigilIsBoundless: whatever came before, a wait is looked through for the most, and no wait ends early.
func TestNoVigilIsBoundless(t *testing.T) {
	p, now := vigil{}, time.Unix(1000, 0)
	for i := range 1000 {
		comes := time.Duration(i*7919%120) * µs
		began := now
		n, slept := looks(&p, &now, comes, 2*µs)
		if looked := time.Duration(n) * 2 * µs; looked > longestVigil+2*µs {
			t.Fatalf("wait %d: looked for %v", i, looked)
		}
		if slept && now.Sub(began) < comes {
			t.Fatalf("wait %d: woke after %v, for what came after %v", i, now.Sub(began), comes)
		}
	}
}

// TestAReaderThatLooksDoesNotSleep: what comes while it looks it finds without the kernel's waking it.
func TestAReaderThatLooksDoesNotSleep(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil { // nothing is ever written: it is looked at, not read
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	sleeps := func(p vigil) bool {
		looks := 0
		k := &queue{fd: ends[0], wake: ends[0], look: time.Millisecond, vigil: p}
		err := k.fill(NewBatch(1), func(_ *queue, b *Batch) error {
			if looks++; looks < 2 {
				return unix.EAGAIN
			}
			b.take(ether.Packet{Frame: make([]byte, ether.HeaderLen)}, frameAt+ether.HeaderLen)
			return nil
		})
		if err != nil || looks != 2 {
			t.Fatalf("%d looks: %v", looks, err)
		}
		return k.idle
	}
	if !sleeps(vigil{}) {
		t.Error("a reader that has learned nothing did not sleep")
	}
	if sleeps(vigil{length: shortestVigil}) { // the first look of a wait depends on no clock
		t.Error("a reader that looks slept")
	}
}
