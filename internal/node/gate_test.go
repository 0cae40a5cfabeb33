package node

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// limit says what the bench's ports let in.
func (b *bench) says(t *testing.T, limits ...overlay.PortLimit) {
	t.Helper()
	for i := range limits {
		if err := limits[i].CheckPort(); err != nil {
			t.Fatal(err)
		}
	}
	b.limited(limits)
	b.publish()
}

// refused is what a port of the bench did not let in.
func (b *bench) refused(t *testing.T, port string) string {
	t.Helper()
	list, err := portsOf(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.name == port {
			return p.refused
		}
	}
	return "no such port"
}

type portSeen struct{ name, refused string }

func portsOf(b *bench) (out []portSeen, err error) {
	for _, at := range b.n.ports {
		var words []string
		for why := range at.gate.refused {
			if n := at.gate.refused[why].Load(); n > 0 {
				words = append(words, Drop(why).String())
			}
		}
		out = append(out, portSeen{at.name, strings.Join(words, " ")})
	}
	return out, nil
}

func TestAPortLetsInDeclaredAddressesOnly(t *testing.T) {
	b := newBench(t)
	b.from(1, frame(mac(2), everybody()))
	b.drain()
	b.got(t)
	b.says(t, overlay.PortLimit{Port: "vm1", MACs: []ether.MAC{mac(1)}})
	b.from(0, frame(mac(1), mac(2)), frame(mac(7), mac(2)), frame(mac(7), everybody()))
	if got := b.got(t); got != "0 1 0" {
		t.Errorf("the ports got %s frames, want only that of the declared address", got)
	}
	if n := b.n.Totals().Drops["address not let in"]; n != 2 || b.refused(t, "vm1") != "address not let in" {
		t.Errorf("%d frames refused, %q", n, b.refused(t, "vm1"))
	}
	if b.drain(); b.local[mac(7)] != nil || b.local[mac(1)] == nil {
		t.Errorf("learned %v", b.local)
	}
	b.says(t)
	b.from(0, frame(mac(7), mac(2)))
	if got := b.got(t); got != "0 1 0" {
		t.Errorf("without the limit the ports got %s", got)
	}
	if r := b.n.Totals().Remainder(); r != 0 {
		t.Errorf("%d frames are not accounted for", r)
	}
}

func TestAStormIsLimited(t *testing.T) {
	b := newBench(t)
	b.says(t, overlay.PortLimit{Port: "vm1", Storm: 10})
	b.from(1, frame(mac(2), everybody()))
	b.drain()
	b.got(t)
	for range 50 {
		b.from(0, frame(mac(1), everybody()), frame(mac(1), mac(2)))
	}
	var flooded, direct int
	for i, far := range b.far[1:] {
		for n := range b.n.ports[i+1].out.frames.Load() {
			_ = n
			if i == 0 {
				direct++
			} else {
				flooded++
			}
		}
		_ = far
	}
	if flooded < 20 || flooded > 21 || direct != flooded+50 { // two seconds' worth at once, and perhaps one more that came due
		t.Errorf("of 50 flooded frames %d passed, of 50 others %d", flooded, direct-flooded)
	}
	if n := b.n.Totals().Drops["storm"]; n != uint64(50-flooded) || b.refused(t, "vm1") != "storm" {
		t.Errorf("%d frames dropped for the storm", n)
	}
	if b.refused(t, "vm2") != "" {
		t.Error("another port pays for it")
	}
}

func TestABucketLetsThroughWhatItSays(t *testing.T) {
	var b bucket
	count := func(now time.Duration) (n int) {
		for b.take(now, 1, 100, 30) {
			n++
		}
		return n
	}
	for _, step := range []struct {
		at   time.Duration
		want int
	}{{time.Hour, 30}, {time.Hour, 0}, {time.Hour + 100*time.Millisecond, 10}, {time.Hour + 10*time.Second, 30}} {
		if got := count(step.at); got != step.want {
			t.Errorf("at %v %d went through, want %d", step.at, got, step.want)
		}
	}
	if b.take(2*time.Hour, 31, 100, 30) {
		t.Error("more than a burst at once")
	}
}

func TestSpoofedAddressesAreNoticed(t *testing.T) {
	b := newBench(t)
	b.from(0, ether.Packet{Frame: arp(arpReply, mac(1), "10.0.0.1", "10.0.0.9")})
	b.drain()
	b.placed(control.Place{MAC: mac(9), Node: "h2", Port: "p", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}})
	b.got(t)
	spoofs := func() (texts []string) {
		list, _, _ := b.n.events.Since(0)
		for _, ev := range list {
			if ev.Kind == "address.spoofed" {
				texts = append(texts, ev.Text)
			}
		}
		return texts
	}
	b.from(1, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.1", "10.0.0.3")}, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.9", "10.0.0.3")})
	b.drain()
	want := []string{
		mac(2).String() + " at port vm2 says that 10.0.0.1 is its address, which belongs to " + mac(1).String() + " at h1, port vm1",
		mac(2).String() + " at port vm2 says that 10.0.0.9 is its address, which belongs to " + mac(9).String() + " at h2, port p",
	}
	if got := spoofs(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := b.got(t); got != "2 0 2" {
		t.Errorf("the frames reached %s: they are noticed, not dropped", got)
	}
	for range 20 {
		b.from(1, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.1", "10.0.0.3")})
	}
	b.drain()
	if n := len(spoofs()); n != 2 {
		t.Errorf("%d reports of the same within a minute", n)
	}
	if list := b.bound.warnings(time.Now()); len(list) != 2 || !strings.Contains(strings.Join(list, " "), "(21 times") {
		t.Errorf("status says %q", list)
	}
	if ips := b.local[mac(2)].ips; len(ips) != 0 {
		t.Errorf("the directory is told that the spoofer has %v", ips)
	}
	b.age(time.Now().Add(ageing + 2*time.Second)) // the holder is gone: DHCP may give its address to another
	b.from(1, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.1", "10.0.0.3")})
	if b.drain(); len(spoofs()) != 2 || len(b.local[mac(2)].ips) != 1 {
		t.Error("an address whose holder is gone cannot be taken over")
	}
}

func TestSpoofedAddressesAreDroppedWhereAsked(t *testing.T) {
	b := newBench(t)
	b.from(0, ether.Packet{Frame: arp(arpReply, mac(1), "10.0.0.1", "10.0.0.9")})
	b.drain()
	b.got(t)
	b.says(t, overlay.PortLimit{Port: "vm2", DropSpoof: true})
	b.from(1, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.1", "10.0.0.3")}, ether.Packet{Frame: arp(arpReply, mac(2), "10.0.0.2", "10.0.0.3")})
	if got := b.got(t); got != "1 0 1" {
		t.Errorf("the ports got %s, want what is not spoofed", got)
	}
	if b.drain(); b.refused(t, "vm2") != "spoofed address" || len(b.bound.warnings(time.Now())) != 1 {
		t.Errorf("%q, %q", b.refused(t, "vm2"), b.bound.warnings(time.Now()))
	}
	if r := b.n.Totals().Remainder(); r != 0 {
		t.Errorf("%d frames are not accounted for", r)
	}
}

// A port of guests teaches the node so many addresses; further ones are forwarded and not learned, and other ports learn on.
func TestAFloodOfAddressesStaysInItsPort(t *testing.T) {
	b := newBench(t)
	for i := range 3 * maxPortMACs {
		b.from(0, frame(mac(i), mac(60000)))
		b.w.node.ports[0].gate.sights.due.Store(0) // as if it took its time
		b.w.node.ports[0].gate.storm.due.Store(0)
		b.drain()
	}
	b.from(1, frame(mac(60001), everybody()))
	b.drain()
	if n := b.n.ports[0].gate.residents; n != maxPortMACs || len(b.local) != maxPortMACs+1 || len(b.learnedRules) != maxPortMACs+1 {
		t.Errorf("learned %d at the port, %d in all, %d rules", n, len(b.local), len(b.learnedRules))
	}
	if b.n.ports[0].gate.strange.Load() == 0 || !strings.Contains(b.warning["macs vm1"], "more than 1024 MACs") {
		t.Errorf("nothing is said of it: %q", b.warning)
	}
	b.age(time.Now().Add(ageing + 2*time.Second))
	if len(b.local) != 0 || b.n.ports[0].gate.residents != 0 || b.warning["macs vm1"] != "" {
		t.Errorf("aged: %d left, %d counted, %q", len(b.local), b.n.ports[0].gate.residents, b.warning)
	}
}

// Limits hold after a restart, without the Proxy.
func TestLimitsSurviveARestart(t *testing.T) {
	want := []overlay.PortLimit{
		{Node: "h1", Port: "vm1", MACs: []ether.MAC{mac(1), mac(2)}, Storm: 7, DropSpoof: true},
		{Node: "h1", Port: "vm2", Storm: overlay.NoStormLimit, Fixed: true},
	}
	got, err := limitsOf("h1", limitsOut(want))
	if err != nil || len(got) != 2 || got[0].Storm != 7 || len(got[0].MACs) != 2 || !got[0].DropSpoof || got[1].Storm != overlay.NoStormLimit || !got[1].Fixed {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := limitsOf("h1", []cachedLimit{{Port: "../etc"}}); err == nil {
		t.Error("a cache that lies is believed")
	}
}
