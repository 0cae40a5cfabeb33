package lab

import (
	"fmt"
	"maps"
	"sort"

	"golang.org/x/sys/unix"
)

// PathCounters are what one direction of a path did since the lab began, per wire packet.
type PathCounters struct {
	From, To string
	Packets  uint64            // delivered
	Bytes    uint64            // delivered, with Ethernet headers
	Drops    map[string]uint64 // by reason: "queue full", "lost", "too big", "cut", …
	InFlight int               // accepted, not yet delivered
}

// RelayCounters are those of all paths.
type RelayCounters struct {
	Paths []PathCounters
	Stray uint64 // packets to an address no path leads to
	// Missed counts, by site, packets that came faster than the relay took them. They are missing from Paths:
	// where it is not zero this machine was too slow for the lab, and what was measured is not the paths.
	Missed map[string]uint64
}

// do has the relay's thread run f, and waits for it.
func (r *relay) do(f func()) {
	done := make(chan struct{})
	r.mu.Lock()
	r.todo = append(r.todo, func() { f(); close(done) })
	r.mu.Unlock()
	one := [8]byte{1}
	if _, err := unix.Write(r.wake, one[:]); err != nil && err != unix.EAGAIN {
		panic(fmt.Sprintf("lab: cannot wake the relay: %v", err)) // an eventfd takes 2^64-2 wake-ups
	}
	<-done
}

// obey runs what others asked for.
func (r *relay) obey() {
	var drained [8]byte
	_, _ = unix.Read(r.wake, drained[:])
	r.mu.Lock()
	todo := r.todo
	r.todo = nil
	r.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// change alters one direction of a path.
func (r *relay) change(req pathRequest) error {
	err := fmt.Errorf("there is no path from site %q to site %q", req.From, req.To)
	r.do(func() {
		for _, l := range r.lanes {
			if l.from != req.From || l.to != req.To {
				continue
			}
			err = nil
			if req.Path != nil {
				l.pipe.SetPath(onWire(*req.Path))
			}
			if req.Cut != nil {
				l.cut = *req.Cut
			}
		}
	})
	return err
}

func (r *relay) counters() RelayCounters {
	var c RelayCounters
	r.do(func() {
		flying := map[*lane]int{}
		for _, p := range r.flight.heap {
			flying[p.lane]++
		}
		c.Stray = r.stray
		for _, l := range r.lanes {
			c.Paths = append(c.Paths, PathCounters{
				From: l.from, To: l.to, Packets: l.sent, Bytes: l.bytes, Drops: maps.Clone(l.drops), InFlight: flying[l],
			})
		}
	})
	sort.Slice(c.Paths, func(i, j int) bool {
		a, b := c.Paths[i], c.Paths[j]
		return a.From < b.From || a.From == b.From && a.To < b.To
	})
	return c
}
