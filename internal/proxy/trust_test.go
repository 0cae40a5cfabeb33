package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// token has the Proxy make one.
func (w *world) token(req *vnetv1.CreateTokenRequest) pki.Token {
	w.t.Helper()
	out, err := w.service().CreateToken(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := pki.ParseToken(out.Token)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// join asks the Proxy from a machine that is no node.
func (w *world) join(t pki.Token, a *pki.Applicant, last byte) (*pki.Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := door{w.net.Host(netip.AddrFrom4([4]byte{10, 0, 1, last}))}.DialTCP(ctx, netip.AddrPortFrom(w.proxy.addr, 4500))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	secure := tls.Client(conn, pki.JoinClientTLS(t, time.Now))
	defer secure.Close()
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return a.Request(secure, t)
}

func applicant(t *testing.T, name string) *pki.Applicant {
	t.Helper()
	a, err := pki.NewApplicant(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOfFiftyJoinsWithOneTokenOneSucceeds(t *testing.T) {
	const machines = 50
	applicants := make([]*pki.Applicant, machines)
	for i := range applicants {
		applicants[i] = applicant(t, fmt.Sprintf("m%d", i))
	}
	inWorld(t, []int{0, 0}, func(t *testing.T, w *world) {
		token := w.token(&vnetv1.CreateTokenRequest{})
		var all sync.WaitGroup
		outcomes := make([]error, machines)
		for i, a := range applicants {
			all.Go(func() { _, outcomes[i] = w.join(token, a, byte(i+1)) })
		}
		all.Wait()
		winner := ""
		for i, err := range outcomes {
			switch {
			case err == nil && winner != "":
				t.Errorf("%s and %s got in with one token", winner, applicants[i].Name)
			case err == nil:
				winner = applicants[i].Name
			case !errors.Is(err, pki.ErrRefused):
				t.Errorf("%s was not refused, but: %v", applicants[i].Name, err)
			}
		}
		if winner == "" {
			t.Error("nobody got in")
		}
		members, err := w.proxy.proxy.ledger().Members()
		joined := slices.DeleteFunc(members, func(m pki.Member) bool { return !strings.HasPrefix(m.Name, "m") })
		if err != nil || len(joined) != 1 || joined[0].Name != winner {
			t.Errorf("%s got in, and registered are %v, %v", winner, joined, err)
		}
		for i, a := range applicants { // the answer may have been lost: the same machine may ask again, no other may
			_, err := w.join(token, a, byte(i+1))
			if again := a.Name == winner; again != (err == nil) {
				t.Errorf("%s asks again: %v", a.Name, err)
			}
		}
	})
}

func TestWhoWaitsIsLetInOnce(t *testing.T) {
	a, other := applicant(t, "h8"), applicant(t, "h8")
	inWorld(t, []int{0, 0}, func(t *testing.T, w *world) {
		token := w.token(&vnetv1.CreateTokenRequest{Approve: true, Uses: 2})
		for range 2 {
			if _, err := w.join(token, a, 1); !errors.Is(err, pki.ErrWaiting) {
				t.Errorf("not approved: %v", err)
			}
		}
		if _, err := w.join(token, other, 2); !errors.Is(err, pki.ErrRefused) {
			t.Errorf("another machine of the name: %v", err)
		}
		key, _ := other.Key()
		if _, err := w.service().ApproveNode(context.Background(), &vnetv1.ApproveNodeRequest{Name: "h8", Key: key.String()}); err == nil {
			t.Error("approved a key that is another machine's")
		}
		if _, err := w.service().ApproveNode(context.Background(), &vnetv1.ApproveNodeRequest{Name: "h8"}); err != nil {
			t.Error(err)
		}
		if id, err := w.join(token, a, 1); err != nil || id.Name != "h8" {
			t.Errorf("approved: %v, %v", id, err)
		}
		list, err := w.service().ListTokens(context.Background(), &vnetv1.ListTokensRequest{})
		if err != nil || len(list.Tokens) != 1 || !slices.Equal(list.Tokens[0].UsedBy, []string{"h8"}) || !list.Tokens[0].Live {
			t.Errorf("tokens: %v, %v", list, err)
		}

	})
}

// linked has a fast path between two hosts, over which their guests talk.
func (w *world) linked(a, b *machine) {
	w.t.Helper()
	if _, err := w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: a.name, Peer: b.name}); err != nil {
		w.t.Fatal(err)
	}
}

// direct has the frames for one host's guest go over the link to it.
func (w *world) direct(from, to *machine) {
	w.t.Helper()
	rule := &vnetv1.Rule{Arrival: "any", Src: "any", Dst: to.guests[0].mac.String(), Out: "link:" + to.name}
	if _, err := w.service().AddRule(context.Background(), &vnetv1.AddRuleRequest{Node: from.name, Rule: rule}); err != nil {
		w.t.Fatal(err)
	}
}

// hears sends a frame and says whether it arrived.
func (w *world) hears(from, to *guest) bool {
	n := from.send(to.mac)
	time.Sleep(300 * time.Millisecond)
	synctest.Wait()
	return to.times(n) > 0
}

// silent fails if anything that the guest sends, to anybody, arrives anywhere.
func (w *world) silent(t *testing.T, g *guest, when string) {
	t.Helper()
	if g.far == nil {
		t.Fatal("its daemon does not run")
	}
	var sent []uint64
	for _, to := range w.guests {
		if to != g {
			sent = append(sent, g.send(to.mac))
		}
	}
	sent = append(sent, g.send(broadcast))
	time.Sleep(500 * time.Millisecond)
	synctest.Wait()
	for _, to := range w.guests {
		for _, n := range sent {
			if to != g && to.times(n) > 0 {
				t.Errorf("%s: what %s sends arrives at %s", when, g.at.name, to.at.name)
			}
		}
	}
}

func TestARevokedHostIsOutEverywhereForEver(t *testing.T) {
	inWorld(t, []int{1, 1, 1, 1}, func(t *testing.T, w *world) {
		h1, h2, h3 := w.hosts[0], w.hosts[1], w.hosts[2]
		bad := h2.guests[0]
		for _, pair := range [][2]*machine{{h1, h2}, {h2, h3}, {h1, h3}} {
			w.linked(pair[0], pair[1])
			w.direct(pair[0], pair[1])
			w.direct(pair[1], pair[0])
		}
		if !w.hears(bad, h1.guests[0]) || !w.hears(bad, h3.guests[0]) {
			t.Fatal("frames of h2 do not arrive before it is revoked")
		}
		w.net.Cut(h3.addr, w.proxy.addr) // h3 misses it
		time.Sleep(3 * time.Second)
		out, err := w.service().RevokeNode(context.Background(), &vnetv1.RevokeNodeRequest{Name: "h2"})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out.Stored, []string{"h1"}) || len(out.NotTold) != 1 || out.NotTold[0].Node != "h3" {
			t.Errorf("stored by %v, not by %v", out.Stored, out.NotTold)
		}
		if o := w.record(); o.Nodes["h2"] != nil || len(o.Links) != 1 || len(o.Nodes["h1"].Rules) != 1 {
			t.Errorf("h2 is still in the overlay: links %v, rules of h1 %v\n%s", o.Links, o.Nodes["h1"].Rules, w.events())
		}
		time.Sleep(5 * time.Second)
		for _, m := range []*machine{w.proxy, h1} {
			if l, _ := m.node.ListLinks(context.Background(), &vnetv1.ListLinksRequest{}); strings.Contains(fmt.Sprint(l), `name:"h2"`) && linkUp(l, "h2") {
				t.Errorf("%s still has a link to h2", m.name)
			}
		}
		if _, number := h3.node.Trust().List(); number != 0 {
			t.Errorf("h3 has list %d while it is cut off", number)
		}
		w.restart(t, h1, h3) // h3 meets h1 anew, and learns
		w.await("h3 has learnt from h1", func() bool { _, number := h3.node.Trust().List(); return number == 1 })
		time.Sleep(2 * time.Second)
		w.silent(t, bad, "everybody knows")
		w.net.Heal(h3.addr, w.proxy.addr)
		time.Sleep(5 * time.Second)
		w.silent(t, bad, "h3 is back")
		w.restart(t, w.proxy, h1, h2, h3)
		time.Sleep(20 * time.Second)
		w.silent(t, bad, "everybody has restarted")
		w.proxy.crash()
		w.restart(t, h1, h2, h3)
		time.Sleep(20 * time.Second)
		w.silent(t, bad, "the Proxy is dead and everybody has restarted")
		h3.guests[0].send(broadcast) // its daemon has to hear of it
		time.Sleep(time.Second)
		if !w.hears(h1.guests[0], h3.guests[0]) {
			t.Error("the others do not hear each other any more")
		}
		w.proxy.start()
		w.await("the others are back", func() bool { return h1.node.Holds().Links != nil && w.here("h1", "h3") })
		if w.here("h2") {
			t.Error("h2 is back")
		}
	})
}

func linkUp(l *vnetv1.ListLinksResponse, name string) bool {
	return slices.ContainsFunc(l.GetLinks(), func(l *vnetv1.Link) bool {
		return l.GetName() == name && l.GetState() == vnetv1.LinkState_LINK_STATE_UP
	})
}

// here says whether all of the hosts named are attached to the Proxy.
func (w *world) here(names ...string) (all bool) {
	w.proxy.proxy.ask(context.Background(), func(h *hub) {
		all = !slices.ContainsFunc(names, func(n string) bool {
			at, ok := h.hosts[overlay.Name(n)]
			return !ok || at.session == nil
		})
	})
	return all
}

// restart ends daemons and starts them again on their disks.
func (w *world) restart(t *testing.T, list ...*machine) {
	t.Helper()
	for _, m := range list {
		m.stop()
	}
	for _, m := range list {
		m.start()
	}
}

// A Proxy that comes back from an old backup takes the revocations over from its hosts.
func TestABackupOfTheProxyForgetsNoRevocation(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		if _, err := w.service().RevokeNode(context.Background(), &vnetv1.RevokeNodeRequest{Name: "h2"}); err != nil {
			t.Fatal(err)
		}
		w.proxy.stop()
		w.proxy.disk = store.Memory() // of before
		w.proxy.start()
		w.await("the Proxy has learnt", func() bool { _, number := w.proxy.node.Trust().List(); return number == 1 })
		time.Sleep(10 * time.Second)
		if w.here("h2") {
			t.Error("h2 was let in again")
		}
		out, err := w.service().RevokeNode(context.Background(), &vnetv1.RevokeNodeRequest{Name: "h1"})
		if _, number := w.proxy.node.Trust().List(); err != nil || number != 2 {
			t.Errorf("the next list has number %d: %v, %v", number, out, err)
		}
	})
}

// shortLived are papers that must be renewed soon.
func shortLived(t *testing.T, hosts int) *papers {
	t.Helper()
	p := issuePapers(t, hosts)
	bubbles := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, id := range p.ids {
		fresh, err := p.ca.Reissue(id, bubbles, 3*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		p.ids[name] = fresh
	}
	return p
}

func TestCertificatesRenewThemselves(t *testing.T) {
	p := shortLived(t, 2)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 1, wan.Path{Delay: 5 * time.Millisecond}, 0, 1, 1)
		defer w.stop()
		w.await("all hosts are there", w.up)
		key := w.hosts[0].node.Identity().Key()
		for _, m := range w.machines() {
			if m.node.Identity().RenewAt() != bubbleStart().Add(2*time.Minute) {
				t.Errorf("%s renews at %v", m.name, m.node.Identity().RenewAt())
			}
		}
		time.Sleep(115 * time.Second)
		if got := w.hosts[0].node.Identity().Expires(); got != bubbleStart().Add(3*time.Minute) {
			t.Errorf("renewed before its time: %v", got)
		}
		time.Sleep(75 * time.Second)
		for _, m := range w.machines() {
			if left := time.Until(m.node.Identity().Expires()); left < pki.LeafLife-2*time.Minute {
				t.Errorf("%s has %v left", m.name, left)
			}
		}
		if w.hosts[0].node.Identity().Key() != key {
			t.Error("its key has changed")
		}
		w.linked(w.hosts[0], w.hosts[1]) // they believe each other's new ones
	})
}

func TestTheAuthorityIsReplacedWithoutLoss(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		w.linked(w.hosts[0], w.hosts[1])
		rotate := func(req *vnetv1.RotateCARequest) *vnetv1.RotateCAResponse {
			t.Helper()
			out, err := w.service().RotateCA(context.Background(), req)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		old := w.hosts[0].node.Identity().CA
		late := w.hosts[2]
		late.stop()
		time.Sleep(time.Second)
		if _, err := w.service().RotateCA(context.Background(), &vnetv1.RotateCARequest{}); err == nil || !strings.Contains(err.Error(), "h3 is away") {
			t.Errorf("begun while a host is away: %v", err)
		}
		out := rotate(&vnetv1.RotateCARequest{Force: true})
		if out.OldCa != old.String() || !slices.Equal(out.Stored, []string{"h1", "h2"}) {
			t.Errorf("rotation: %v", out)
		}
		if _, err := w.service().RotateCA(context.Background(), &vnetv1.RotateCARequest{}); err == nil {
			t.Error("begun twice")
		}
		late.start() // it knows the old authority only
		w.await("all are there", w.up)
		time.Sleep(2 * time.Minute)
		for _, m := range w.hosts {
			if got := m.node.Identity().CA.String(); got != out.Ca {
				t.Errorf("%s has a certificate of %s, not of the new authority", m.name, got)
			}
			if _, err := w.service().Forward(context.Background(), m.name, "GetStatus", nil); err != nil {
				t.Error(err)
			}
		}
		w.linked(w.hosts[1], w.hosts[2])
		token := w.token(&vnetv1.CreateTokenRequest{})
		if token.CA != old {
			t.Error("a token names an authority that the Proxy does not show yet")
		}
		if end := rotate(&vnetv1.RotateCARequest{Finish: true}); end.OldCa != "" || len(end.Stored) != 3 {
			t.Errorf("the end of the rotation: %v", end)
		}
		if w.token(&vnetv1.CreateTokenRequest{}).CA.String() != out.Ca {
			t.Error("a token does not name the new authority")
		}
		for _, m := range w.hosts {
			if m.node.Trust().Believes(old) {
				t.Errorf("%s still believes the old authority", m.name)
			}
		}
	})
}
