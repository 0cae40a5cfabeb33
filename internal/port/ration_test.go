package port

import (
	"math/rand/v2"
	"testing"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func TestTallyAdmits(t *testing.T) {
	rows := []struct {
		name          string
		bytes, frames int // that wait
		length        int // of one more
		want          bool
	}{
		{"an empty queue takes the longest frame", 0, 0, maxFrame, true},
		{"one byte below the bound is below it", 99_999, 2, maxFrame, true},
		{"at the bound no long frame is let in", 100_000, 2, longFrame + 1, false},
		{"what is no long frame is", 100_000, 2, longFrame, true},
		{"small frames fill the queue to its length", 499 * 64, 499, 64, true},
		{"and no further", 500 * 64, 500, 64, false},
		{"more may have been read than was counted", -70_000, -1, maxFrame, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			q := tally{inBytes: 1 << 40, inPackets: 1 << 30, maxBytes: 100_000, maxPackets: 500}
			q.outBytes, q.outPackets = q.inBytes-uint64(row.bytes), q.inPackets-uint64(row.frames)
			if got := q.admits(row.length); got != row.want {
				t.Fatalf("%v, want %v", got, row.want)
			}
		})
	}
}

// TestTallyForgetsWhatWasLost plays both sides: a kernel that loses some of what it has counted, and a reader.
func TestTallyForgetsWhatWasLost(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 4))
	q := tally{maxBytes: 100_000, maxPackets: 500}
	reader := reckoning{tally: &q}
	var waiting []ether.Packet
	for range 10_000 {
		frame := make(ether.Frame, 64+dice.IntN(9000))
		if q.admits(len(frame)) {
			q.inBytes, q.inPackets = q.inBytes+uint64(len(frame)), q.inPackets+1
			if dice.IntN(10) > 0 {
				waiting = append(waiting, ether.Packet{Frame: frame})
			}
		}
		if dice.IntN(8) == 0 {
			n := min(len(waiting), 1+dice.IntN(20))
			batch := waiting[:n]
			waiting = waiting[n:]
			reader.read(batch)
			if len(waiting) > 0 {
				continue
			}
			if reader.empty(); q.inBytes != q.outBytes || q.inPackets != q.outPackets {
				t.Fatalf("nothing waits, and yet the tally says %+v", q)
			}
		}
		bytes := 0
		for i := range waiting {
			bytes += len(waiting[i].Frame)
		}
		if have := int(q.inBytes - q.outBytes); have < bytes {
			t.Fatalf("%d bytes wait, the tally says %d", bytes, have)
		}
	}
	var none reckoning // of a port without one
	none.read(waiting)
	none.empty()
}

// TestTallyIsToldWhatWasRead: of what has been read all but a little is said, though the queue is never empty.
func TestTallyIsToldWhatWasRead(t *testing.T) {
	dice := rand.New(rand.NewPCG(7, 8))
	q := tally{}
	reader := reckoning{tally: &q}
	for range 1000 {
		batch := make([]ether.Packet, 1+dice.IntN(5))
		for i := range batch {
			batch[i].Frame = make(ether.Frame, 64+dice.IntN(60_000)*dice.IntN(2))
			q.inBytes, q.inPackets = q.inBytes+uint64(len(batch[i].Frame)), q.inPackets+1
		}
		reader.read(batch)
		if packets, bytes := q.inPackets-q.outPackets, q.inBytes-q.outBytes; packets >= sayPackets || bytes >= sayBytes {
			t.Fatalf("%d packets of %d bytes were read and not said", packets, bytes)
		}
	}
}
