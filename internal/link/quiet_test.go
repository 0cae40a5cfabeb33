package link

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestPaceKnowsHeartbeatsFromFrames(t *testing.T) {
	now := time.Unix(1000, 0)
	p := pace{}
	steps := []struct {
		reads int
		every time.Duration
		quiet bool
	}{
		{1, 0, true}, // before the first it had no time to be busy
		{20, 125 * time.Millisecond, true},
		{quietReads, time.Millisecond, false},
		{30, 10 * time.Microsecond, false},
		{1000, time.Millisecond, false},
		{20, 125 * time.Millisecond, true},
		{1, time.Hour, true},
	}
	for i, s := range steps {
		for range s.reads {
			now = now.Add(s.every)
			p.read(now)
		}
		if p.quiet != s.quiet {
			t.Errorf("step %d: quiet is %v", i, p.quiet)
		}
	}
}

// TestAQuietSocketReadsAndCloses: in the poller as in the kernel nothing is missed, and Close wakes.
func TestAQuietSocketReadsAndCloses(t *testing.T) {
	from, to := sockets(t, Kernel{})
	for i := range 3 * quietReads {
		to.pace = pace{quiet: true, since: time.Now()} // as if nothing had come for long
		want := bytes.Repeat([]byte{byte(i)}, 100)
		if i%2 == 0 { // there before anybody waits
			if err := from.WriteSegments(to.LocalAddr(), want, 100); err != nil {
				t.Fatal(err)
			}
			collect(t, to, want)
			continue
		}
		got := make(chan []int)
		go func() { got <- collect(t, to, want) }()
		if err := from.WriteSegments(to.LocalAddr(), want, 100); err != nil {
			t.Fatal(err)
		}
		if sizes := <-got; len(sizes) != 1 {
			t.Fatalf("datagrams of %v bytes", sizes)
		}
	}
	if to.watch.Load() == nil {
		t.Fatal("the poller was not used")
	}
	ended := make(chan error)
	to.pace = pace{quiet: true, since: time.Now()}
	go func() {
		_, err := to.ReadBatch([][]byte{make([]byte, 10)}, make([]int, 1), make([]int, 1), make([]netip.AddrPort, 1))
		ended <- err
	}()
	time.AfterFunc(10*time.Millisecond, func() { to.Close() })
	if err := <-ended; err != net.ErrClosed {
		t.Errorf("the reader got %v", err)
	}
}
