package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// lanPort is a pipe that says of itself that it is somebody's LAN.
type lanPort struct{ port.Port }

func (l lanPort) Info() port.Info {
	i := l.Port.Info()
	i.LAN, i.MAC = true, ether.MAC{2, 0xaa, 0, 0, 0, l.Name()[len(l.Name())-1]}
	return i
}

// withLANs adds the ports lan1 and lan2.
func withLANs(b *bench) func(*Config) {
	return func(c *Config) {
		for _, name := range []string{"lan1", "lan2"} {
			near, far := port.Pipe(name, name)
			c.Ports, b.far = append(c.Ports, lanPort{near}), append(b.far, far)
		}
	}
}

// lanBench runs the body with a host that has lan1 as port 3 and lan2 as port 4, and the overlay's key.
func lanBench(t *testing.T, body func(*testing.T, *bench)) {
	synctest.Test(t, func(t *testing.T) {
		extra := &bench{}
		b := newBench(t, withLANs(extra))
		b.far = append(b.far, extra.far...)
		b.lans.keyed([]byte("key"))
		b.publish()
		body(t, b)
	})
}

// later lets time pass as the loop would see it.
func (b *bench) later(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(tick) {
		b.lans.tick(time.Now())
		for len(b.n.probed) > 0 {
			b.lans.heard(<-b.n.probed)
		}
		b.publishIfDirty()
	}
}

func TestLANPortListensBeforeItForwards(t *testing.T) {
	lanBench(t, func(t *testing.T, b *bench) {
		b.from(3, frame(mac(1), everybody()))
		if n := b.n.Totals().Drops["port blocked"] + b.n.Totals().Drops["blocked port"]; n != 1 {
			t.Errorf("while it listens: %v", b.n.Totals().Drops)
		}
		if text := b.n.ports[3].blockedText(); !strings.Contains(text, "lan1 is blocked: listening") {
			t.Error(text)
		}
		b.later(listen + 2*tick)
		b.from(3, frame(mac(1), everybody()))
		if out := b.n.Totals().EdgeOut; out != 4 || b.n.Totals().Remainder() != 0 {
			t.Errorf("when it is open: %+v", b.n.Totals())
		}
		f := frame(mac(1), everybody()) // the EtherType of probes is anybody's for experiments
		f.Frame[12], f.Frame[13] = byte(control.ProbeEtherType>>8), byte(control.ProbeEtherType&0xff)
		b.from(3, f)
		if out := b.n.Totals().EdgeOut; out != 8 {
			t.Errorf("a stranger's frame of the probes' type: %+v", b.n.Totals())
		}
	})
}

func TestTwoPortsOnOneLAN(t *testing.T) {
	lanBench(t, func(t *testing.T, b *bench) {
		b.later(listen + 2*tick)
		sign := b.lans.sign
		hear := func(at int, p control.Probe, sign func([]byte) []byte) {
			payload, err := p.Encode(sign)
			if err != nil {
				t.Fatal(err)
			}
			f := frame(mac(50), control.ProbeDestination())
			f.Frame = append(f.Frame[:14:14], payload...)
			f.Frame[12], f.Frame[13] = byte(control.ProbeEtherType>>8), byte(control.ProbeEtherType&0xff)
			b.from(at, f)
			b.later(tick)
		}
		older := control.Probe{Overlay: "test", Node: "h9", Port: "lan0", Started: 1, Seq: 1}
		hear(4, older, func([]byte) []byte { return make([]byte, 32) })
		if b.n.ports[4].guard.blocked.Load() {
			t.Fatal("blocked by a forged probe")
		}
		for seq := range uint64(3) {
			older.Seq = seq + 2
			hear(4, older, sign)
		}
		if !b.n.ports[4].guard.blocked.Load() || b.n.ports[3].guard.blocked.Load() {
			t.Fatal("the port that hears an older one is not blocked, or another is")
		}
		before := b.n.Totals().EdgeOut
		b.from(0, frame(mac(1), everybody()))
		if out := b.n.Totals().EdgeOut - before; out != 3 {
			t.Errorf("a broadcast went to %d ports, want vm2, vm3 and lan1", out)
		}
		kinds := ""
		events, _, _ := b.n.events.Since(0)
		for _, ev := range events {
			kinds += ev.Kind + " " + ev.Fields["port"] + ";"
		}
		if !strings.HasSuffix(kinds, "port.blocked lan2;") {
			t.Errorf("events: %s", kinds)
		}
		b.later(time.Minute) // nothing is heard any more
		if b.n.ports[4].guard.blocked.Load() {
			t.Error("the loop is gone and the port is still blocked")
		}
		if n := b.n.Totals().Drops["loop probe"]; n != 4 || b.n.Totals().Remainder() != 0 {
			t.Errorf("%d probes ended here, want 4: %+v", n, b.n.Totals())
		}
	})
}

// A broadcast that the LAN sends back is dropped, and nobody takes its sender to live on the LAN.
func TestReflections(t *testing.T) {
	lanBench(t, func(t *testing.T, b *bench) {
		b.later(listen + 2*tick)
		b.from(0, frame(mac(1), everybody()))
		b.drain()
		b.from(3, frame(mac(1), everybody()))
		b.drain()
		if n := b.n.Totals().Drops["reflection"]; n != 1 || b.local[mac(1)].at.name != "vm1" {
			t.Errorf("%d reflections, %s lives at %s", n, mac(1), b.local[mac(1)].at.name)
		}
		time.Sleep(3 * time.Second)
		b.from(3, frame(mac(1), everybody()))
		if n := b.n.Totals().Drops["reflection"]; n != 1 {
			t.Error("what is said again later is no reflection")
		}
	})
}

// A LAN on which guests elsewhere ask and are never answered is said to refuse them; one that answers once is not.
func TestALANThatHearsNobody(t *testing.T) {
	b := newBench(t, func(c *Config) {
		near, far := port.Pipe("lan1", "lan1")
		c.Ports = append(c.Ports, lanPort{near})
		t.Cleanup(func() { far.Close() })
	})
	at := b.n.ports[len(b.n.ports)-1]
	b.unblock(at)
	b.publish()
	at.in.add(1, 60)
	ask := func(n int) {
		for range n {
			p := frame(mac(7), everybody())
			copy(p.Frame[12:], []byte{0x08, 0x06})
			p.Hops = 1
			b.w.run(b.star.side, []ether.Packet{p})
		}
	}
	if ask(unanswered - 1); at.deafText() != "" {
		t.Errorf("too soon: %s", at.deafText())
	}
	if ask(1); !strings.Contains(at.deafText(), "foreign MACs") {
		t.Errorf("after %d requests: %q", at.guard.asked.Load(), at.deafText())
	}
	b.rules(t, "from any src any dst "+mac(7).String()+" to link:proxy")
	b.table = b.table.WithDown(b.star.side, false)
	b.publish()
	b.from(at.index, frame(mac(8), mac(7)))
	if at.deafText() != "" {
		t.Errorf("it was answered: %s", at.deafText())
	}
}
