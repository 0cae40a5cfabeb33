package simulate

import (
	"math"
	"time"
)

const (
	// mss is the content of a full TCP segment over Ethernet with timestamps.
	mss = 1448.0
	// firstWindow is what a connection may send at first, and again after it was idle (RFC 6928).
	firstWindow = 10 * mss
	// cut is what cubic keeps of its window at a loss; growth is its constant C in segments/s³ (RFC 9438).
	cut, growth = 0.7, 0.4
	// friendly is by how many segments cubic's Reno-friendly window grows in a round trip: 3 (1-cut) / (1+cut).
	friendly = 3 * (1 - cut) / (1 + cut)
	// leastRTO is Linux's least retransmission timeout; an idle connection halves its window for each that passes.
	leastRTO = 200 * time.Millisecond
	// step is the shortest time between two looks at a window that holds a flow back.
	step = 5 * time.Millisecond
)

// window is cubic's congestion window, as far as averages go: slow start up to a threshold, then the cubic curve from the
// plateau where a full queue stopped it last.
type window struct {
	bytes     float64
	threshold float64 // end of slow start
	plateau   float64
	epoch     time.Time // when the curve began
	looked    time.Time
	idle      time.Time // since when nothing was sent; zero while something is
}

func newWindow(now time.Time) window {
	return window{bytes: firstWindow, threshold: math.Inf(1), looked: now, idle: now}
}

func (w *window) limit(roundTrip time.Duration) float64 { return w.bytes / roundTrip.Seconds() }

// wake ends an idle time, as tcp_cwnd_restart does.
func (w *window) wake(now time.Time, roundTrip time.Duration) {
	if w.idle.IsZero() {
		return
	}
	idle := now.Sub(w.idle)
	if timeout := leastRTO + roundTrip; idle > timeout && w.bytes > firstWindow {
		w.threshold = max(min(w.threshold, math.Inf(1)), 0.75*w.bytes)
		w.bytes = max(firstWindow, w.bytes*math.Pow(0.5, math.Floor(idle.Seconds()/timeout.Seconds())))
	}
	w.epoch = w.epoch.Add(idle)
	w.looked, w.idle = now, time.Time{}
}

// grow lets the window grow since it was looked at last, up to room when a wire holds the flow back.
func (w *window) grow(now time.Time, roundTrip time.Duration, squeezed bool, room float64) {
	passed := now.Sub(w.looked).Seconds() / roundTrip.Seconds() // round trips
	w.looked = now
	if w.bytes < w.threshold {
		w.bytes = min(w.bytes*math.Pow(2, passed), max(w.threshold, w.bytes))
	} else {
		t := now.Sub(w.epoch).Seconds()
		w.bytes = max(w.bytes, w.plateau+mss*(growth*t*t*t+friendly*t/roundTrip.Seconds()))
	}
	if squeezed && w.bytes >= room {
		w.bytes = max(room, 2*mss)
		w.threshold, w.plateau, w.epoch = cut*w.bytes, w.bytes, now
	}
}
