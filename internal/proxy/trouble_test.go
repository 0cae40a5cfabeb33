package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// clock is a machine's clock by the calendar, as its user, or a program that knows better, sets it.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *clock) set(ahead time.Duration) { c.off.Store(int64(ahead)) }

// clocks give every machine a clock of its own, and start the daemons anew under them.
func (w *world) clocks(t *testing.T) map[*machine]*clock {
	t.Helper()
	p, all := *w.papers, map[*machine]*clock{}
	p.ids = map[string]*pki.Identity{}
	for _, m := range w.machines() {
		c := &clock{}
		id := *w.papers.ids[m.name]
		id.Time = c.now
		p.ids[m.name], all[m] = &id, c
	}
	w.papers = &p
	w.restart(t, w.machines()...)
	w.await("all hosts are there", w.up)
	w.greet()
	time.Sleep(time.Second)
	return all
}

// apart cuts all machines from each other until every link is dead, and lets them meet again.
func (w *world) apart() {
	each := func(f func(a, b netip.Addr)) {
		for i, a := range w.machines() {
			for _, b := range w.machines()[:i] {
				f(a.addr, b.addr)
			}
		}
	}
	each(w.net.Cut)
	time.Sleep(3 * time.Second)
	each(w.net.Heal)
}

// A clock that jumps costs no frame: links stand through it. New handshakes wait until it is right again, and the daemon says why.
func TestClocksJump(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		clocks := w.clocks(t)
		h1, h2, h3 := w.hosts[0], w.hosts[1], w.hosts[2]
		w.linked(h1, h2)
		w.direct(h1, h2)
		w.direct(h2, h1)
		dice := w.dice
		for range 8 {
			m := w.machines()[dice.IntN(4)]
			jump := time.Duration(dice.IntN(20*24)-10*24) * time.Hour
			clocks[m].set(jump)
			for range 3 {
				for _, pair := range [][2]*machine{{h1, h2}, {h2, h1}, {h3, h1}, {h2, h3}} {
					if !w.hears(pair[0].guests[0], pair[1].guests[0]) {
						t.Fatalf("the clock of %s is off by %v, and a frame from %s to %s is lost\n%s", m.name, jump, pair[0].name, pair[1].name, w.events())
					}
				}
				time.Sleep(3 * time.Second)
			}
			clocks[m].set(0)
			time.Sleep(70 * time.Second) // certificates that were made by a wrong clock are made again
		}
		if found := w.twice(); len(found) > 0 {
			t.Error(found)
		}
		w.apart() // every handshake anew, by certificates as they are now
		w.await("all hosts are there after the clocks are right", w.up)
		w.linked(h1, h3)
	})
}

// A machine that comes up with its clock a week behind is told so, and is a node again when the clock is right. Its guests are
// learned although it seems to have started before it did the last time.
func TestAMachineStartsWithAWrongClock(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		clocks := w.clocks(t)
		h1, h2 := w.hosts[0], w.hosts[1]
		h2.stop()
		clocks[h2].set(-7 * 24 * time.Hour)
		h2.start()
		time.Sleep(20 * time.Second)
		status, err := h2.node.GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
		if err != nil || !strings.Contains(status.Status.StarText, "one of the two clocks is wrong") {
			t.Errorf("with its clock a week behind it says %q, %v", status.GetStatus().GetStarText(), err)
		}
		if w.here("h2") {
			t.Error("it is at the Proxy, which cannot know that its certificate is good")
		}
		h2.stop()
		clocks[h2].set(-30 * time.Minute) // within what is tolerated, and its boot is the lower
		h2.start()
		w.await("all hosts are there", w.up)
		h2.guests[0].send(broadcast)
		w.await("its guest is learned", func() bool { return w.record().VMs[h2.guests[0].mac].Node == "h2" })
		if !w.hears(h1.guests[0], h2.guests[0]) {
			t.Error("what its guest is sent does not arrive")
		}
	})
}

// The Proxy's clock is a day ahead while it signs, then it is right: what it signed is not good before tomorrow, and is made again.
func TestTheProxysClockWasAhead(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		clocks := w.clocks(t)
		clocks[w.proxy].set(40 * 24 * time.Hour) // past the end of its own certificate
		time.Sleep(2 * time.Minute)
		for _, m := range w.hosts { // each has reason to renew now
			clocks[m].set(40 * 24 * time.Hour)
		}
		time.Sleep(2 * time.Minute)
		if ends := w.hosts[0].node.Identity().Expires(); ends.Before(time.Now().Add(40 * 24 * time.Hour)) {
			t.Fatalf("h1 has not renewed: its certificate ends %v", ends)
		}
		for _, c := range clocks {
			c.set(0)
		}
		w.apart()
		time.Sleep(2 * time.Minute)
		w.await("all hosts are there", w.up)
		for _, m := range w.machines() {
			if id := m.node.Identity(); id.Early(time.Now()) || time.Until(id.Expires()) > 31*24*time.Hour {
				t.Errorf("%s shows a certificate that ends %v", m.name, id.Expires())
			}
		}
		w.linked(w.hosts[0], w.hosts[1])
	})
}

var errNoRoom = errors.New("no space left on device")

// trouble is what is wrong with a machine's disk.
type trouble struct {
	slow atomic.Int64 // ns a write takes
	full atomic.Bool
	once atomic.Bool // one write more finds room
}

func (d *trouble) ask() error {
	time.Sleep(time.Duration(d.slow.Load()))
	if d.full.Load() {
		return errNoRoom
	}
	if d.once.Load() {
		d.full.Store(true)
	}
	return nil
}

// disks give every machine a disk that may be in trouble, and start the daemons anew on them.
func (w *world) disks(t *testing.T) map[*machine]*trouble {
	t.Helper()
	all := map[*machine]*trouble{}
	for _, m := range w.machines() {
		all[m] = &trouble{}
		m.disk = store.Troubled(m.disk, all[m].ask)
	}
	w.restart(t, w.machines()...)
	w.await("all hosts are there", w.up)
	w.greet()
	time.Sleep(time.Second)
	return all
}

// Every write takes three seconds, at all machines. Frames do not wait, nor do changes; only who asked for one hears of it when it
// is on disk, and finds it there after a crash.
func TestADiskIsSlow(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		disks := w.disks(t)
		for _, d := range disks {
			d.slow.Store(int64(3 * time.Second))
		}
		h1, h2 := w.hosts[0], w.hosts[1]
		done := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"})
			done <- err
		}()
		for range 20 {
			if !w.hears(h1.guests[0], h2.guests[0]) {
				t.Fatal("a frame is lost")
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 30*time.Second {
			t.Errorf("who asked heard after %v", took)
		}
		w.direct(h1, h2)
		w.direct(h2, h1)
		w.proxy.crash()
		for range 10 {
			if !w.hears(h1.guests[0], h2.guests[0]) {
				t.Fatal("a frame is lost while the Proxy is dead")
			}
		}
		w.proxy.start()
		w.await("all hosts are there", w.up)
		if o := w.record(); len(o.Links) != 1 || len(o.Nodes["h1"].Rules) != 1 || len(o.Nodes["h2"].Rules) != 1 {
			t.Errorf("what was confirmed is forgotten: %v", o.Links)
		}
		if found := w.twice(); len(found) > 0 {
			t.Error(found)
		}
	})
}

// All disks are full for a while: it is said at each daemon, nothing stops, tokens are refused in clear words, and what was done
// meanwhile is on disk once there is room: a crash then forgets none of it.
func TestDisksAreFullForAWhile(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		disks := w.disks(t)
		h1, h2 := w.hosts[0], w.hosts[1]
		for _, d := range disks {
			d.full.Store(true)
		}
		w.linked(h1, h2)
		w.direct(h1, h2)
		w.direct(h2, h1)
		if !w.hears(h1.guests[0], h2.guests[0]) {
			t.Error("a frame is lost while disks are full")
		}
		warns := func(m *machine) string {
			var status *vnetv1.GetStatusResponse
			if m == w.proxy {
				status, _ = w.service().GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
			} else {
				status, _ = m.node.GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
			}
			return fmt.Sprint(status.GetStatus().GetWarnings())
		}
		for _, m := range w.hosts {
			w.await(m.name+" says that its disk is full", func() bool { return strings.Contains(warns(m), "no space left on device; free some disk space") })
		}
		w.await("the Proxy says it", func() bool { return strings.Contains(w.events(), "cannot save the overlay: no space left on device") })
		if _, err := w.service().CreateToken(context.Background(), &vnetv1.CreateTokenRequest{}); err == nil || !strings.Contains(err.Error(), "cannot keep the token: no space left on device") {
			t.Errorf("a token that cannot be kept: %v", err)
		}
		out, err := w.service().RevokeNode(context.Background(), &vnetv1.RevokeNodeRequest{Name: "h2"})
		if err == nil {
			t.Errorf("a revocation that is on no disk was confirmed: %v", out)
		}
		for _, d := range disks {
			d.full.Store(false)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		for _, m := range w.machines() {
			m.crash()
		}
		for _, m := range w.machines() {
			m.start()
		}
		w.await("h1 is there", func() bool { return w.here("h1") })
		if o := w.record(); len(o.Links) != 1 || len(o.Nodes["h1"].Rules) != 1 {
			t.Errorf("what was done while disks were full is forgotten: %v, %v", o.Links, o.Nodes["h1"].Rules)
		}
		if strings.Contains(warns(h1), "space") {
			t.Errorf("h1 goes on saying %s", warns(h1))
		}
	})
}

// Another machine takes the place of h2, and the Proxy dies before it has revoked the key of the one before. It finds that in its
// register when it is back, where it came in the same moment as the new machine. Where somebody has to approve the new machine
// first, the old one stays believed until then.
func TestAMachineIsReplacedWhileTheProxyDies(t *testing.T) {
	a, b := applicant(t, "h2"), applicant(t, "h1")
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		disks := w.disks(t)
		old := w.hosts[1].node.Identity().Key()
		token := w.token(&vnetv1.CreateTokenRequest{Name: "h2"})
		later := w.token(&vnetv1.CreateTokenRequest{Name: "h1", Approve: true})
		time.Sleep(time.Second)
		disks[w.proxy].once.Store(true)
		if _, err := w.join(token, a, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.proxy.crash()
		w.hosts[1].stop() // it has heard, but the list is on no disk
		disks[w.proxy].once.Store(false)
		disks[w.proxy].full.Store(false)
		if raw, err := w.proxy.disk.Get("trust", "list"); err != nil || raw != nil {
			t.Fatalf("the list reached the disk: %q, %v", raw, err)
		}
		w.hosts[0].stop()
		w.proxy.start()
		w.await("the Proxy revokes the old key", func() bool { return w.proxy.node.Trust().Refuses(old) })
		w.hosts[0].start()
		w.await("h1 is back and knows", func() bool { return w.here("h1") && w.hosts[0].node.Trust().Refuses(old) })
		if left, err := w.proxy.proxy.ledger().PutOut(); err != nil || len(left) > 0 {
			t.Errorf("left to be revoked: %v, %v", left, err)
		}

		first := w.hosts[0].node.Identity().Key()
		if _, err := w.join(later, b, 2); !errors.Is(err, pki.ErrWaiting) {
			t.Fatalf("a machine that needs approval: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if w.proxy.node.Trust().Refuses(first) {
			t.Error("the old machine is put out for one that nobody has approved")
		}
		if _, err := w.service().ApproveNode(context.Background(), &vnetv1.ApproveNodeRequest{Name: "h1"}); err != nil {
			t.Fatal(err)
		}
		w.await("the key of the machine before is revoked", func() bool { return w.proxy.node.Trust().Refuses(first) })
	})
}
