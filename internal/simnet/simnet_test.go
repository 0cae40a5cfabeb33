package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

func addr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

func at(n int, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr(n), port) }

const ms = time.Millisecond

// listenUDP opens one socket on port 7 of host n.
func listenUDP(t *testing.T, network *Net, n int) *UDPSocket {
	t.Helper()
	s, err := network.Host(addr(n)).ListenUDP(at(n, 7), 1)
	if err != nil {
		t.Fatal(err)
	}
	return s[0]
}

// read takes one batch of up to n buffers of size bytes and describes it: "from size[/seg]".
func read(t *testing.T, s *UDPSocket, n, size int) string {
	t.Helper()
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	sizes, segs, from := make([]int, n), make([]int, n), make([]netip.AddrPort, n)
	got, err := s.ReadBatch(bufs, sizes, segs, from)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for i := range got {
		fmt.Fprintf(&b, " %s %d", from[i], sizes[i])
		if segs[i] > 0 {
			fmt.Fprintf(&b, "/%d", segs[i])
		}
	}
	return strings.TrimSpace(b.String())
}

func write(t *testing.T, s *UDPSocket, to netip.AddrPort, size, seg int) {
	t.Helper()
	if err := s.WriteSegments(to, make([]byte, size), seg); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTripIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetPath(addr(1), addr(2), wan.Path{Delay: 3 * ms})
		n.SetPath(addr(2), addr(1), wan.Path{Delay: 4 * ms, Rate: 8_000_000}) // 1 byte a microsecond
		a, b := listenUDP(t, n, 1), listenUDP(t, n, 2)
		go func() {
			read(t, b, 1, 100)
			write(t, b, at(1, 7), 72, 0) // 100 bytes with its headers
		}()
		start := time.Now()
		write(t, a, at(2, 7), 10, 0)
		if got := read(t, a, 1, 100); got != "10.0.0.2:7 72" {
			t.Errorf("got %s", got)
		}
		if took := time.Since(start); took != 7*ms+100*time.Microsecond {
			t.Errorf("round trip %v", took)
		}
	})
}

func TestBatchesJoinAsTheKernelDoes(t *testing.T) {
	for _, tc := range []struct {
		name       string
		sends      [][2]int // size, seg
		bufs, size int
		want       []string
	}{
		{"one", [][2]int{{10, 0}}, 4, 2000, []string{"10.0.0.1:7 10"}},
		{"a segmented send arrives joined", [][2]int{{1050, 100}}, 4, 2000, []string{"10.0.0.1:7 1050/100"}},
		{"a shorter one ends a buffer", [][2]int{{150, 100}, {100, 0}}, 4, 2000, []string{"10.0.0.1:7 150/100 10.0.0.1:7 100"}},
		{"a longer one does not fit", [][2]int{{50, 0}, {100, 0}}, 4, 2000, []string{"10.0.0.1:7 50 10.0.0.1:7 100"}},
		{"no room", [][2]int{{300, 100}}, 2, 150, []string{"10.0.0.1:7 100 10.0.0.1:7 100", "10.0.0.1:7 100"}},
		{"cut off", [][2]int{{300, 0}}, 2, 150, []string{"10.0.0.1:7 150"}},
		{"at most 64", [][2]int{{64, 1}, {1, 0}}, 4, 2000, []string{"10.0.0.1:7 64/1 10.0.0.1:7 1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				a, b := listenUDP(t, n, 1), listenUDP(t, n, 2)
				for _, s := range tc.sends {
					write(t, a, at(2, 7), s[0], s[1])
				}
				for i, want := range tc.want {
					if got := read(t, b, tc.bufs, tc.size); got != want {
						t.Errorf("batch %d: %s, want %s", i, got, want)
					}
				}
			})
		})
	}
}

func TestTooManySegmentsAreRefused(t *testing.T) {
	n := New(1)
	a := listenUDP(t, n, 1)
	for _, tc := range [][2]int{{maxDatagram + 1, 0}, {65, 1}} {
		if err := a.WriteSegments(at(2, 7), make([]byte, tc[0]), tc[1]); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%d bytes in segments of %d: %v", tc[0], tc[1], err)
		}
	}
}

// What is offered is delivered, dropped for a reason, or under way.
func TestEveryDropIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetPath(addr(1), addr(2), wan.Path{Delay: ms, Rate: 8_000_000, Queue: ms}) // 1,000 bytes wait at most
		a, b := listenUDP(t, n, 1), listenUDP(t, n, 2)
		write(t, a, at(2, 7), 1473, 0) // 1,501 with headers
		for range 4 {
			write(t, a, at(2, 7), 500-28, 0)
		}
		write(t, a, at(2, 9), 0, 0) // waits for more than 1 ms
		time.Sleep(10 * ms)
		write(t, a, at(2, 9), 0, 0) // nobody there
		time.Sleep(10 * ms)
		n.CutOneWay(addr(1), addr(2))
		write(t, a, at(2, 7), 0, 0)
		n.Heal(addr(1), addr(2))
		n.SetPath(addr(1), addr(2), wan.Path{Loss: 1})
		write(t, a, at(2, 7), 0, 0)
		n.SetPath(addr(1), addr(2), wan.Path{Delay: time.Hour})
		write(t, a, at(2, 7), 0, 0)
		got := n.Counters(addr(1), addr(2))
		want := Counters{Offered: 10, OfferedBytes: 1501 + 4*500 + 5*28, Delivered: 3, DeliveredBytes: 1500, Lost: 1, QueueFull: 2, TooBig: 1, Cut: 1, NoSocket: 1}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if got := read(t, b, 10, 500); got != "10.0.0.1:7 472 10.0.0.1:7 472 10.0.0.1:7 472" {
			t.Errorf("read %s", got)
		}
		n.SetPath(addr(1), addr(2), wan.Path{})
		for range udpQueue + 5 {
			write(t, a, at(2, 7), 0, 0)
		}
		time.Sleep(2 * time.Hour)
		if got := n.Counters(addr(1), addr(2)); got.ReceiverFull != 6 || got.Offered != 11+udpQueue+4 {
			t.Errorf("after a flood: %+v", got)
		}
	})
}

func TestLossFollowsFromTheSeed(t *testing.T) {
	fate := func(seed uint64, alsoOthers bool) (got string) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed)
			n.SetDefault(wan.Path{Loss: 0.5, Delay: ms})
			a, b := listenUDP(t, n, 1), listenUDP(t, n, 2)
			for i := range 50 {
				write(t, a, at(2, 7), i, 0)
				if alsoOthers {
					write(t, a, at(3, 7), i, 0)
				}
			}
			time.Sleep(ms)
			got = read(t, b, 50, 50)
		})
		return got
	}
	if fate(1, false) != fate(1, true) {
		t.Error("traffic elsewhere changed what is lost here")
	}
	if fate(1, false) == fate(2, false) {
		t.Error("the seed changed nothing")
	}
}

func TestFlowsKeepTheirSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		group, err := n.Host(addr(1)).ListenUDP(at(1, 7), 4)
		if err != nil {
			t.Fatal(err)
		}
		for i := 2; i < 42; i++ {
			s := listenUDP(t, n, i)
			write(t, s, at(1, 7), 1, 0)
			write(t, s, at(1, 7), 2, 0)
			s.Close()
		}
		for i, s := range group {
			from := map[netip.AddrPort]int{}
			for _, d := range s.queue {
				from[d.from]++
			}
			if len(from) < 3 || len(from) > 20 {
				t.Errorf("socket %d has %d of 40 flows", i, len(from))
			}
			for f, count := range from {
				if count != 2 {
					t.Errorf("socket %d has %d of 2 datagrams from %s", i, count, f)
				}
			}
		}
		if _, err := n.Host(addr(1)).ListenUDP(at(1, 7), 1); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second group on the port: %v", err)
		}
		if _, err := n.Host(addr(1)).ListenUDP(at(2, 7), 1); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("another host's address: %v", err)
		}
	})
}

func TestCloseEndsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := listenUDP(t, New(1), 1)
		go func() {
			time.Sleep(ms)
			s.Close()
		}()
		if got := read(t, s, 1, 1); !strings.Contains(got, net.ErrClosed.Error()) {
			t.Errorf("read: %s", got)
		}
		if err := s.WriteSegments(at(2, 7), nil, 0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := s.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
}

func TestEventsOfOneInstantKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDefault(wan.Path{Delay: ms})
		a, b := listenUDP(t, n, 1), listenUDP(t, n, 2)
		var want, got []string
		for i := range 30 {
			size := 16 + i*5%14 // no two fit into a buffer of 30
			write(t, a, at(2, 7), size, 0)
			want = append(want, fmt.Sprintf("10.0.0.1:7 %d", size))
		}
		time.Sleep(ms)
		for range want {
			got = append(got, read(t, b, 1, 30))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}
