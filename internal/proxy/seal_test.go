package proxy

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/seal"
)

// status is what a machine's daemon says of itself.
func (m *machine) status() *vnetv1.Status {
	out, err := m.node.GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
	if err != nil {
		m.w.t.Fatal(err)
	}
	return out.Status
}

// sealedWith says whether keys are agreed on in both directions.
func (m *machine) sealedWith(peer *machine) bool {
	for _, p := range m.status().Sealed {
		if p.Name == peer.name {
			return p.Ready
		}
	}
	return false
}

// seals switches sealing and waits until every pair has keys.
func (w *world) seals(a, b *machine) {
	w.t.Helper()
	out, err := w.service().SetSeal(context.Background(), &vnetv1.SetSealRequest{A: a.name, B: b.name, On: true})
	if err != nil || len(out.NotTold) > 0 || len(out.Told) != 2 {
		w.t.Fatalf("told %v, %v", out, err)
	}
	w.await("keys are agreed on", func() bool { return a.sealedWith(b) && b.sealedWith(a) })
	time.Sleep(time.Second) // they have told each other which guests they have
}

// spy is a guest of the Proxy's own machine that gets the frames which pass through: what a Proxy can read that was taken over.
type spy struct {
	mu     sync.Mutex // guards the following
	frames []ether.Frame
}

func (s *spy) hear(f ether.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, ether.Frame(bytes.Clone(f)))
}

func (s *spy) take() []ether.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.frames
	s.frames = nil
	return out
}

// tap has the Proxy give what it gets from one host for another's guest to its own guest instead.
func (w *world) tap(from *machine, to *guest) *spy {
	w.t.Helper()
	s := &spy{}
	g := w.proxy.guests[0]
	g.mu.Lock()
	g.spy = s.hear
	g.mu.Unlock()
	rule := &vnetv1.Rule{Arrival: "link:" + from.name, Src: "any", Dst: to.mac.String(), Out: "port:" + g.name}
	if _, err := w.service().AddRule(context.Background(), &vnetv1.AddRuleRequest{Node: w.proxy.name, Rule: rule}); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// The Proxy is in the middle of all that the guests of two hosts say: it sees who talks to whom, and neither reads, nor
// changes, nor repeats, nor invents a frame.
func TestTheProxyCarriesWhatItCannotRead(t *testing.T) {
	inWorld(t, []int{1, 1, 1}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		a, b, evil := h1.guests[0], h2.guests[0], w.proxy.guests[0]
		if !w.hears(a, b) || !w.hears(b, a) {
			t.Fatal("they do not hear each other before")
		}
		w.seals(h1, h2)
		for range 3 {
			if !w.hears(a, b) || !w.hears(b, a) {
				t.Fatalf("they do not hear each other sealed: %v, %v", h1.node.Totals().Drops, h2.node.Totals().Drops)
			}
		}
		spy := w.tap(h1, b)
		n := a.sendOf(b.mac, 200)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		frames := spy.take()
		if len(frames) != 1 || b.times(n) != 0 {
			t.Fatalf("the Proxy keeps %d frames for itself, and the guest got it %d times", len(frames), b.times(n))
		}
		f := frames[0]
		if f.Dst() != b.mac || f.Src() != a.mac || f.EtherType() != seal.EtherType {
			t.Errorf("what it sees: % x", f[:16])
		}
		if bytes.Contains(f, []byte{probeType >> 8, probeType & 255, 0, 0, 0, 0}) {
			t.Errorf("what it reads: % x", f)
		}
		send := func(f ether.Frame) { evil.put(f); time.Sleep(200 * time.Millisecond); synctest.Wait() }
		bad := bytes.Clone(f)
		bad[len(bad)-20] ^= 1
		send(bad)
		elsewhere := bytes.Clone(f)
		elsewhere[11] ^= 3 // as if from another
		send(elsewhere)
		inClear := bytes.Clone(f[:60])
		inClear[12], inClear[13] = probeType>>8, probeType&255
		send(inClear)
		if got := b.times(n); got != 0 {
			t.Errorf("an altered frame arrived %d times", got)
		}
		before := w.heardBy(b)
		send(inClear)
		if after := w.heardBy(b); after != before {
			t.Error("a frame that the Proxy invented, in the clear, arrived as if from a guest of h1")
		}
		send(f)
		send(f)
		if got := b.times(n); got != 1 {
			t.Errorf("the frame itself, sent on twice, arrived %d times", got)
		}
		if drops := h2.node.Totals().Drops; drops["seal broken"] < 3 || drops["not sealed"] < 2 {
			t.Errorf("counted: %v", drops)
		}
		if refused := h2.status().Sealed[0].FramesRefused; refused < 2 {
			t.Errorf("status says that %d were refused", refused)
		}
	})
}

// heardBy is how many frames a guest has heard in all.
func (w *world) heardBy(g *guest) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, times := range g.got {
		n += times
	}
	return n
}

// A Proxy that says of a guest that it lives with the Proxy gets no word for it in the clear: its own host has said, sealed,
// where it lives.
func TestTheDirectoryOpensNoSeal(t *testing.T) {
	inWorld(t, []int{1, 1, 1}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		a, b := h1.guests[0], h2.guests[0]
		w.seals(h1, h2)
		spy := w.tap(h1, b)
		lie := control.Directory{Version: 1 << 40, Places: []control.Place{{MAC: b.mac, Node: "proxy", Port: "vm1", Mobility: 99}}}
		if err := w.proxy.node.SendTo("h1", lie); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		a.send(b.mac)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		for _, f := range spy.take() {
			if f.EtherType() != seal.EtherType {
				t.Errorf("the lie brought the Proxy % x", f)
			}
		}
		off := func() { w.service().SetSeal(context.Background(), &vnetv1.SetSealRequest{A: "h1", B: "h2"}) }
		off()
		w.await("the seal is taken off", func() bool { return len(h1.status().Sealed) == 0 && len(h2.status().Sealed) == 0 })
	})
}

// A host that was started with --sealed sends guests elsewhere nothing in the clear, whatever the Proxy says, and takes
// nothing; the other host need not be told.
func TestASealedHostTrustsNoWordOfTheProxy(t *testing.T) {
	p := issuePapers(t, 2)
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWith(t, p, func(m *machine) { m.sealed = m.name == "h1" })
		defer w.stop()
		w.await("all hosts are there", w.up)
		w.greet()
		h1, h2 := w.hosts[0], w.hosts[1]
		a, b, c := h1.guests[0], h2.guests[0], w.proxy.guests[0]
		w.await("keys are agreed on", func() bool { return h1.sealedWith(h2) && h2.sealedWith(h1) })
		time.Sleep(time.Second)
		if !w.hears(a, b) || !w.hears(b, a) {
			t.Errorf("sealed both ways: %v, %v", h1.node.Totals().Drops, h2.node.Totals().Drops)
		}
		if w.hears(a, c) || w.hears(c, a) {
			t.Error("the Proxy's guest, which has no seal, is heard or hears")
		}
		if _, err := w.service().SetSeal(context.Background(), &vnetv1.SetSealRequest{}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		spy := w.tap(h1, b)
		a.send(b.mac)
		time.Sleep(300 * time.Millisecond)
		for _, f := range spy.take() {
			if f.EtherType() != seal.EtherType {
				t.Errorf("the Proxy had it opened: % x", f)
			}
		}
		if n := h1.node.Totals().Drops["not sealed"]; n < 2 {
			t.Errorf("%d frames counted as not sealed", n)
		}
	})
}

// Keys are agreed on anew when a host has lost its own, and the old ones are good until then.
func TestSealsOutliveRestarts(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		a, b := h1.guests[0], h2.guests[0]
		w.seals(h1, h2)
		w.linked(h1, h2)
		w.direct(h1, h2)
		w.direct(h2, h1)
		w.proxy.crash()
		time.Sleep(5 * time.Second)
		for range 10 {
			if !w.hears(a, b) || !w.hears(b, a) {
				t.Fatal("without the Proxy nothing is heard, over a link that stands")
			}
		}
		w.proxy.start()
		w.await("all hosts are there", w.up)
		h2.stop()
		h2.start()
		w.await("all hosts are there", w.up)
		w.greet()
		time.Sleep(10 * time.Second)
		if !h1.sealedWith(h2) || !h2.sealedWith(h1) || !w.hears(a, b) || !w.hears(b, a) {
			t.Errorf("10 s after a restart: %v, %v", h1.status(), h2.status())
		}
	})
}

// A Proxy makes a certificate for a host's name with a key of its own, and stands in for the host. Who knew the host notices,
// refuses, and says what to do.
func TestAProxyThatImpersonatesAHostIsNoticed(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		w.linked(h1, h2) // first sight
		w.seals(h1, h2)
		h2.stop()
		false2, err := w.papers.ca.Issue("h2", pki.RoleHost, time.Now(), 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.papers.ids["h2"], false2 = false2, w.papers.ids["h2"]
		defer func() { w.papers.ids["h2"] = false2 }()
		forget(t, w, "h2")
		h2.start()
		w.await("the false h2 is there", w.up)
		w.greet()
		w.await("h1 says so", func() bool {
			return strings.Contains(strings.Join(h1.status().Warnings, "\n"), "vnet nodes forget-key h2")
		})
		time.Sleep(10 * time.Second)
		for _, g := range []*guest{h2.guests[0]} {
			if w.hears(h1.guests[0], g) || w.hears(g, h1.guests[0]) {
				t.Error("frames are exchanged with the false h2")
			}
		}
		text := strings.Join(h1.status().Warnings, "\n")
		if !strings.Contains(text, false2.Key().String()) || !strings.Contains(text, w.papers.ids["h2"].Key().String()) || !strings.Contains(text, "compare") {
			t.Errorf("it says: %s", text)
		}
	})
}

// forget has the Proxy's own register let another key in under a name: it is the Proxy that lies.
func forget(t *testing.T, w *world, name string) {
	t.Helper()
	if _, err := w.proxy.proxy.ledger().Remove(name); err != nil {
		t.Fatal(err)
	}
}

// What would take back a host's own judgement of keys is the business of its own user: the Proxy cannot ask for it.
func TestTheProxyForgetsNoKeyForAHost(t *testing.T) {
	inWorld(t, []int{0, 0, 0}, func(t *testing.T, w *world) {
		h1, h2 := w.hosts[0], w.hosts[1]
		w.linked(h1, h2)
		a, err := w.proxy.node.Call(context.Background(), "h1", "ForgetKey", []byte{})
		if err == nil && a.Code == "" {
			t.Error("h1 forgot a key because the Proxy said so")
		}
		if _, ok := h1.node.Trust().Pins()["h2"]; !ok {
			t.Error("h1 does not know h2's key")
		}
	})
}
