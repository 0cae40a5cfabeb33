//go:build linux

package port

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// patience is how long a test waits for a frame that should come.
const patience = 5 * time.Second

// doors are the ways to get two ports of which each reads what the other writes.
var doors = []struct {
	name string
	open func(t testing.TB) (near, far Port)
}{
	{"memory", func(testing.TB) (Port, Port) { return Pipe("near", "far") }},
	{"tap", func(t testing.TB) (Port, Port) {
		tap := openTestTAP(t, TAPConfig{Name: "near"})
		return tap, openTestLAN(t, "near")
	}},
	{"tap with two queues", func(t testing.TB) (Port, Port) {
		tap := openTestTAP(t, TAPConfig{Name: "near", Queues: 2})
		return queuePort{tap}, openTestLAN(t, "near")
	}},
	{"lan", func(t testing.TB) (Port, Port) {
		addVeth(t, "left", "right")
		return openTestLAN(t, "left"), openTestLAN(t, "right")
	}},
}

// queuePort reads all queues of a TAP as one, since the kernel chooses the queue.
type queuePort struct{ Port }

func (p queuePort) SetOffloads(names []string) error { return p.Port.(Switcher).SetOffloads(names) }

func (p queuePort) Read(_ int, b *Batch) error {
	t := p.Port.(*tap)
	for {
		if !t.gate.enter() {
			return net.ErrClosed
		}
		for q := range t.queues {
			k := t.queues[q]
			b.reset()
			err := receiveTAP(&k, b)
			if errors.Is(err, unix.EAGAIN) {
				k.reckoning.empty()
			}
			if err == nil && len(b.Packets) > 0 {
				t.gate.leave()
				return nil
			}
		}
		t.gate.leave()
	}
}

func openTestTAP(t testing.TB, c TAPConfig) Port {
	t.Helper()
	needTAP(t)
	p, err := OpenTAP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func openTestLAN(t testing.TB, iface string) Port {
	t.Helper()
	p, err := OpenLAN(LANConfig{Interface: iface})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func addVeth(t testing.TB, a, b string) {
	t.Helper()
	needNamespace(t)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: a}, PeerName: b}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	setUpAndWait(t, a, b)
}

// setUpAndWait brings interfaces up. Until they say so themselves the kernel throws away what is sent.
func setUpAndWait(t testing.TB, names ...string) {
	t.Helper()
	changes, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(changes, done); err != nil {
		t.Fatal(err)
	}
	down := make(map[string]bool)
	for _, name := range names {
		down[name] = true
		if err := netlink.LinkSetUp(findLink(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	for len(down) > 0 {
		change := (<-changes).Link.Attrs()
		if change.OperState == netlink.OperUp {
			delete(down, change.Name)
		}
	}
}

func findLink(t testing.TB, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// expect reads n packets from macA and returns copies. Whatever else comes is the kernel's own chatter.
func expect(t testing.TB, p Port, n int) []ether.Packet {
	t.Helper()
	alarm := time.AfterFunc(patience, func() { _ = p.Close() })
	defer alarm.Stop()
	b := NewBatch(8)
	var got []ether.Packet
	for len(got) < n {
		if err := p.Read(0, b); err != nil {
			t.Fatalf("after %d packets of %d: %v", len(got), n, err)
		}
		for i := range b.Packets {
			if b.Packets[i].Frame.Src() == macA {
				got = append(got, clonePacket(&b.Packets[i]))
			}
		}
	}
	return got
}

func send(t testing.TB, p Port, pkts ...ether.Packet) {
	t.Helper()
	var before []ether.Packet
	for i := range pkts {
		before = append(before, clonePacket(&pkts[i]))
	}
	n, err := p.Write(0, pkts)
	if err != nil || n != len(pkts) {
		t.Fatalf("%d of %d went, error %v, drops %v", n, len(pkts), err, p.Info().Drops)
	}
	if diff := cmp.Diff(before, pkts, wholeFrames()); diff != "" {
		t.Fatalf("writing changed the packets (-before +after):\n%s", diff)
	}
}

// same compares packets after their marks were made canonical.
func same(t testing.TB, want, got []ether.Packet) {
	t.Helper()
	for _, list := range [][]ether.Packet{want, got} {
		for i := range list {
			if err := list[i].Check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if diff := cmp.Diff(want, got, wholeFrames()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

// recipes are what must cross every door just as it is.
var recipes = map[string]recipe{
	"tcp":             {payload: 100},
	"longest":         {payload: 1460},
	"partial":         {payload: 100, partial: true},
	"partial, tagged": {payload: 100, partial: true, tags: []uint16{ether.TypeVLAN}},
	// The kernel counts all tags but one 802.1Q tag as payload when it sends for a LAN port.
	"tagged twice":          {payload: 1452, tags: []uint16{ether.TypeQinQ, ether.TypeVLAN}},
	"super-frame":           {payload: 50000, gso: 1448},
	"super-frame, IPv6":     {payload: 50000, gso: 1428, v6: true},
	"super-frame, tagged":   {payload: 50000, gso: 1448, tags: []uint16{ether.TypeVLAN}},
	"datagrams":             {payload: 20000, gso: 1200, udp: true},
	"datagrams over IPv6":   {payload: 20000, gso: 1200, udp: true, v6: true},
	"one datagram, partial": {payload: 10, udp: true, partial: true},
}

func TestPacketsCrossUnchanged(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, far := door.open(t)
			for name, r := range recipes {
				t.Run(name, func(t *testing.T) {
					for _, way := range [][2]Port{{near, far}, {far, near}} {
						send(t, way[0], r.packet())
						same(t, []ether.Packet{r.packet()}, expect(t, way[1], 1))
					}
				})
			}
		})
	}
}

func TestOffloadsNotTakenAreFinished(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, far := door.open(t)
			outletOf(near).takes.Store(0)
			for name, r := range recipes {
				want := finished(r.packet())
				send(t, near, r.packet())
				got := expect(t, far, len(want))
				if diff := cmp.Diff(want, got, wholeFrames()); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func outletOf(p Port) *outlet {
	switch p := p.(type) {
	case *pipeEnd:
		return &p.outlet
	case *tap:
		return &p.outlet
	case queuePort:
		return outletOf(p.Port)
	case *LAN:
		return &p.outlet
	}
	panic(fmt.Sprintf("no outlet in %T", p))
}

func TestOffloadsAreSwitched(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, far := door.open(t)
			all, switcher := near.Info().Offloads, near.(Switcher)
			r := recipe{payload: 4000, gso: 1000}
			for _, names := range [][]string{{}, {"csum"}, {"csum", "tso6"}} {
				if err := switcher.SetOffloads(names); err != nil {
					t.Fatal(err)
				}
				if got := near.Info().Offloads; len(got) != len(names) {
					t.Fatalf("%v were chosen, %v are used", names, got)
				}
				send(t, near, r.packet())
				if got := expect(t, far, 4); got[0].Offload.Partial() != (len(names) > 0) {
					t.Fatalf("%v: marks %+v", names, got[0].Offload)
				}
			}
			if err := switcher.SetOffloads([]string{"tso4"}); err == nil {
				t.Fatal("segmentation without checksums was taken")
			}
			if err := switcher.SetOffloads([]string{"warp"}); err == nil {
				t.Fatal("an offload that does not exist was taken")
			}
			if err := switcher.SetOffloads(all); err != nil {
				t.Fatal(err)
			}
			send(t, near, r.packet())
			same(t, []ether.Packet{r.packet()}, expect(t, far, 1))
		})
	}
}

func TestDHCPIsComplete(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, far := door.open(t)
			r := recipe{udp: true, dstPort: 68, payload: 300, partial: true}
			send(t, near, r.packet())
			same(t, finished(r.packet()), expect(t, far, 1))
		})
	}
}

func TestTooLongIsCutOrDropped(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, far := door.open(t)
			long := []ether.Packet{
				recipe{payload: 1461}.packet(),
				recipe{payload: 4000, gso: 2000, udp: true}.packet(),
			}
			if n, err := near.Write(0, long); n != 0 || err != nil {
				t.Fatalf("%d went, %v", n, err)
			}
			if got := near.Info().Drops[dropLong.String()]; got != 3 {
				t.Fatalf("drops: %v, want 3 too long", near.Info().Drops)
			}
			jumbo, want := recipe{payload: 8000, gso: 4000}, recipe{payload: 8000, gso: 1460}
			send(t, near, jumbo.packet())
			cut := expect(t, far, 6)
			for i := range cut {
				if err := ether.Complete(&cut[i]); err != nil {
					t.Fatal(err)
				}
			}
			same(t, finished(want.packet()), cut)
		})
	}
}

func TestLyingMarksAreDropped(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, _ := door.open(t)
			outletOf(near).takes.Store(0)
			lie := recipe{payload: 3000, gso: 1000}.packet()
			lie.Offload.GSOType = ether.GSOUDP
			if n, err := near.Write(0, []ether.Packet{lie, {Frame: make(ether.Frame, 5)}}); n != 0 || err != nil {
				t.Fatalf("%d went, %v", n, err)
			}
			want := map[string]uint64{dropMarks.String(): 1, dropShort.String(): 1}
			got := near.Info().Drops
			// How many frames a lie stands for is anybody's guess.
			got[dropMarks.String()] = min(got[dropMarks.String()], 1)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestCloseEndsReaders(t *testing.T) {
	for _, door := range doors {
		t.Run(door.name, func(t *testing.T) {
			near, _ := door.open(t)
			done := make(chan error)
			go func() {
				b := NewBatch(1)
				for {
					if err := near.Read(0, b); err != nil {
						done <- err
						return
					}
				}
			}()
			if err := near.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Read: %v", err)
			}
			if err := near.Read(0, NewBatch(1)); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Read after Close: %v", err)
			}
			if _, err := near.Write(0, nil); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Write after Close: %v", err)
			}
			if err := near.Close(); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("Close after Close: %v", err)
			}
			near.Info()
		})
	}
}

func TestPipeWaitsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := Pipe("near", "far")
		go func() {
			time.Sleep(time.Hour)
			send(t, near, recipe{payload: 10}.packet())
		}()
		start := time.Now()
		expectNow := NewBatch(4)
		if err := far.Read(0, expectNow); err != nil || len(expectNow.Packets) != 1 {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != time.Hour {
			t.Fatalf("waited %v", waited)
		}
	})
}

func TestFullPipeDrops(t *testing.T) {
	near, far := Pipe("near", "far")
	p := []ether.Packet{recipe{payload: 3000, gso: 1000}.packet()}
	for range pipeDepth + 2 {
		if _, err := near.Write(0, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := near.Info().Drops[dropFull.String()]; got != 6 {
		t.Fatalf("%d frames dropped, want 2 super-frames of 3", got)
	}
	if got := len(expect(t, far, pipeDepth)); got != pipeDepth {
		t.Fatalf("%d arrived", got)
	}
}
