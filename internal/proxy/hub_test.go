package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

func seconds(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Second) }

// inWorld runs the body in a world whose guests have all been heard.
func inWorld(t *testing.T, guests []int, body func(*testing.T, *world)) {
	t.Helper()
	p := issuePapers(t, len(guests)-1)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, p, 1, wan.Path{Delay: 5 * time.Millisecond}, guests...)
		defer w.stop()
		w.await("all hosts are there", w.up)
		w.greet()
		time.Sleep(300 * time.Millisecond)
		body(t, w)
	})
}

// record is what the Proxy has written down.
func (w *world) record() (o *overlay.Overlay) {
	w.proxy.proxy.ask(context.Background(), func(h *hub) { o = h.record.Clone() })
	return o
}

// events are the kinds and texts of what the Proxy saw happen, one a line.
func (w *world) events() string {
	var b strings.Builder
	list, _, _ := w.proxy.node.Events().Since(0)
	for _, ev := range list {
		fmt.Fprintf(&b, "%s: %s (at %v)\n", ev.Kind, ev.Text, ev.Time.Sub(bubbleStart()).Round(time.Millisecond))
	}
	return b.String()
}

func TestTwoClientsAreServedOneAfterTheOther(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		var clients sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			clients.Go(func() {
				pair := [][2]string{{"h1", "h2"}, {"h2", "h3"}, {"h1", "h3"}}[i%3]
				_, errs[i] = w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: pair[0], Peer: pair[1]})
			})
		}
		clients.Wait()
		added, refused := 0, 0
		for _, err := range errs {
			switch {
			case err == nil:
				added++
			case strings.Contains(err.Error(), "there already"):
				refused++
			default:
				t.Error(err)
			}
		}
		if added != 3 || refused != 3 || len(w.record().Links) != 3 {
			t.Errorf("%d added, %d refused, links %v", added, refused, w.record().Links)
		}
	})
}

// A link that cannot be made is taken back, named, and left alone by adaptation for a while.
func TestFailingLinkAbortsAndBars(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		w.net.Cut(w.hosts[0].addr, w.hosts[1].addr)
		generation := w.record().Generation
		_, err := w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"})
		if err == nil || !strings.Contains(err.Error(), "cannot finish adding link h1–h2") {
			t.Fatal(err)
		}
		if o := w.record(); len(o.Links) != 0 || o.Generation != generation {
			t.Errorf("the record has %v, generation %d", o.Links, o.Generation)
		}
		var barred map[adapt.Ends]time.Time
		w.proxy.proxy.ask(context.Background(), func(h *hub) { barred = h.barred() })
		if until := barred[adapt.EndsOf("h1", "h2")]; !until.After(time.Now()) {
			t.Errorf("barred: %v", barred)
		}
		time.Sleep(15 * time.Second)
		if list, _ := w.hosts[0].node.ListLinks(context.Background(), &vnetv1.ListLinksRequest{}); len(list.Links) != 1 {
			t.Errorf("h1 still keeps %v", list.Links)
		}
		w.net.Heal(w.hosts[0].addr, w.hosts[1].addr)
		if _, err := w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"}); err != nil {
			t.Errorf("after the path is mended: %v", err)
		}
	})
}

// traffic has the hosts of the first guests report what they exchange, for a while.
func (w *world) traffic(d time.Duration, a, b *guest) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for _, pair := range [][2]*guest{{a, b}, {b, a}} {
			w.number++
			w.proxy.proxy.Heard(overlay.Name(pair[0].at.name), vttif.Report{Node: pair[0].at.name, Boot: 77, Seq: w.number, Deltas: []vttif.Delta{
				{Pair: vttif.Pair{Src: pair[0].mac, Dst: pair[1].mac}, Tally: vttif.Tally{OfferedBytes: 1e6, OfferedFrames: 700}},
			}})
		}
	}
}

func (w *world) adaptation() *vnetv1.Adaptation {
	out, err := w.service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Adaptation
}

func TestModes(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		a, b := w.guests[0], w.guests[1]
		set := func(m vnetv1.AdaptationMode) {
			if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: m}); err != nil {
				t.Fatal(err)
			}
		}
		w.traffic(4*time.Second, a, b)
		app, err := w.service().GetApp(context.Background(), &vnetv1.GetAppRequest{})
		if err != nil || len(app.App.Groups) != 1 || len(app.App.Groups[0].Edges) != 1 {
			t.Fatalf("inferred: %v, %v", app, err)
		}
		if m, err := w.service().GetTraffic(context.Background(), &vnetv1.GetTrafficRequest{}); err != nil || len(m.Entries) < 2 {
			t.Errorf("matrix: %v, %v", m, err)
		}
		if ad := w.adaptation(); ad.Proposal != nil || len(ad.Links) != 0 {
			t.Errorf("observe: %v", ad)
		}
		set(vnetv1.AdaptationMode_ADAPTATION_MODE_ADVISE)
		w.traffic(2*time.Second, a, b)
		if ad := w.adaptation(); ad.Proposal == nil || len(ad.Links) != 0 || len(w.record().Links) != 0 {
			t.Errorf("advise: %v", ad)
		}
		set(vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO)
		w.traffic(5*time.Second, a, b)
		if ad := w.adaptation(); len(ad.Links) != 1 || ad.Links[0].Reason == "" || len(ad.History) == 0 {
			t.Errorf("auto: %v", ad)
		}
		n := a.send(b.mac)
		time.Sleep(time.Second)
		if l, _ := w.hosts[0].node.ListLinks(context.Background(), &vnetv1.ListLinksRequest{}); b.times(n) != 1 || len(l.Links) != 2 {
			t.Errorf("a frame over the fast path came %d times; links %v", b.times(n), l.Links)
		}
		status, err := w.service().GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
		if err != nil || !strings.HasSuffix(status.Status.Adaptation, "1 fast path") || status.Status.StarText != "to 3 hosts" {
			t.Errorf("%v, %v", status, err)
		}
		for range 40 { // they talk to another now
			w.traffic(time.Second, a, w.guests[2])
		}
		if links := w.record().Links; len(links) != 1 || links[0].B != "h3" {
			t.Errorf("the topology has moved on, the links are %v", links)
		}
	})
}

// A proposal that the user's rules forbid is told once in a while, not at every tick.
func TestRefusedProposalsAreNotRepeatedAtOnce(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		a, b := w.guests[0], w.guests[1]
		rule, err := overlay.ParseRule("src any dst " + b.mac.String() + " to link:proxy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.service().AddRule(context.Background(), &vnetv1.AddRuleRequest{Node: b.at.name, Rule: ruleOut(rule)}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO}); err != nil {
			t.Fatal(err)
		}
		w.traffic(10*time.Second, a, b)
		if len(w.record().Links) != 0 {
			t.Fatal("the plan was not refused: the test wants another rule")
		}
		n := strings.Count(w.events(), "adapt.failed")
		t.Logf("%d events in 10 s", n)
		if n == 0 || n > 12 {
			t.Errorf("a refused proposal made %d events in 10 s", n)
		}
	})
}

// A VM that moves takes what adaptation made for it out of the record and out of the nodes.
func TestMoveRetiresAdaptedRules(t *testing.T) {
	inWorld(t, []int{0, 1, 1, 1}, func(t *testing.T, w *world) {
		a, b, c := w.guests[0], w.guests[1], w.guests[2]
		if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO}); err != nil {
			t.Fatal(err)
		}
		w.traffic(5*time.Second, a, b)
		rules := func() (n int) {
			for _, m := range w.hosts {
				list, _ := m.node.ListRules(context.Background(), &vnetv1.ListRulesRequest{Origin: "adapted"})
				n += len(list.Rules)
			}
			return n
		}
		if rules() != 4 {
			t.Fatalf("%d adapted rules", rules())
		}
		if _, err := w.service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_OBSERVE}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		c.mac = b.mac // the VM is at h3 now
		c.send(broadcast)
		w.await("the move is known", func() bool { return w.record().VMs[c.mac].Node == "h3" })
		w.await("its rules are gone", func() bool { return rules() == 0 })
		n := a.send(c.mac)
		time.Sleep(time.Second)
		if c.times(n) != 1 || b.times(n) != 0 {
			t.Errorf("a frame came %d times to the new place, %d to the old", c.times(n), b.times(n))
		}
		if !strings.Contains(w.events(), "vm.moved") {
			t.Errorf("events:\n%s", w.events())
		}
	})
}

// Everybody learns where a guest is, and a host that comes later too.
func TestDirectoryIsSpread(t *testing.T) {
	inWorld(t, []int{1, 1, 1}, func(t *testing.T, w *world) {
		knows := func(m *machine) int {
			list, err := m.node.ListRules(context.Background(), &vnetv1.ListRulesRequest{Origin: "learned"})
			if err != nil {
				t.Fatal(err)
			}
			return len(list.Rules)
		}
		for _, m := range w.machines() {
			if knows(m) != 3 {
				t.Errorf("%s knows of %d guests", m.name, knows(m))
			}
		}
		w.hosts[1].crash()
		w.hosts[1].disk = store.Memory() // it remembers nothing
		w.hosts[1].start()
		w.await("it is told", func() bool { return knows(w.hosts[1]) == 3 })
		nodes, err := w.service().ListNodes(context.Background(), &vnetv1.ListNodesRequest{})
		if err != nil || len(nodes.Nodes) != 3 || len(nodes.Nodes[0].Vms) != 1 {
			t.Errorf("%v, %v", nodes, err)
		}
	})
}

// The configuration time is measured by an empty change at the start, and every 10 minutes.
func TestBoundIsMeasured(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		bound := func() *vnetv1.Bound {
			out, err := w.service().GetBound(context.Background(), &vnetv1.GetBoundRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return out.Bound
		}
		time.Sleep(10 * time.Second)
		first := bound()
		if first.Samples == 0 || first.Origin != string(control.BoundMeasured) || first.P95.AsDuration() > time.Second {
			t.Errorf("at the start: %v", first)
		}
		time.Sleep(timeEmpty + 10*time.Second)
		if later := bound(); later.Samples != first.Samples+1 || later.Measured.AsTime().Sub(first.Measured.AsTime()) < timeEmpty/2 {
			t.Errorf("10 minutes later: %v", later)
		}
		if _, err := w.service().SetBound(context.Background(), &vnetv1.SetBoundRequest{Value: seconds(-1)}); err == nil {
			t.Error("a negative bound was taken")
		}
		if _, err := w.service().SetBound(context.Background(), &vnetv1.SetBoundRequest{Value: seconds(7)}); err != nil || bound().Value.AsDuration() != 7*time.Second {
			t.Errorf("the user's: %v, %v", bound(), err)
		}
		if _, err := w.service().SetBound(context.Background(), &vnetv1.SetBoundRequest{}); err != nil || bound().Origin != string(control.BoundMeasured) {
			t.Errorf("given back: %v, %v", bound(), err)
		}
	})
}

// A token lets one machine in, under a name that is nobody else's.
func TestNamesAtEnrolment(t *testing.T) {
	inWorld(t, []int{0, 1}, func(t *testing.T, w *world) {
		token := func(name string) pki.Token {
			out, err := w.service().CreateToken(context.Background(), &vnetv1.CreateTokenRequest{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := pki.ParseToken(out.Token)
			if err != nil {
				t.Fatal(err)
			}
			return parsed
		}
		join := func(tok pki.Token, name string) error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := door{w.net.Host(netip.MustParseAddr("10.0.0.77"))}.DialTCP(ctx, netip.AddrPortFrom(w.proxy.addr, 4500))
			if err != nil {
				return err
			}
			defer conn.Close()
			secure := tls.Client(conn, pki.JoinClientTLS(tok, time.Now))
			defer secure.Close()
			if err := secure.HandshakeContext(ctx); err != nil {
				return err
			}
			_, err = pki.RequestJoin(secure, tok, name)
			return err
		}
		if err := join(token(""), "proxy"); err == nil {
			t.Error("a host was let in under the Proxy's name")
		}
		bound := token("h9")
		if err := join(bound, "h8"); err == nil {
			t.Error("a token for h9 let h8 in")
		}
		if err := join(bound, "h9"); err != nil {
			t.Error(err)
		}
		if err := join(bound, "h9"); err == nil {
			t.Error("a token was taken twice")
		}
		if text := w.events(); strings.Count(text, "join: h9 joined from 10.0.0.77") != 1 || strings.Count(text, "join.refused") != 3 {
			t.Errorf("events:\n%s", text)
		}
		if _, err := w.service().CreateToken(context.Background(), &vnetv1.CreateTokenRequest{Name: "No Name"}); err == nil {
			t.Error("a token for a name that cannot be")
		}
	})
}
