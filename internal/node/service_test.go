package node

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// What is listed is read from the node itself.
func TestANodeDescribesItself(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		ctx, h := context.Background(), w.hosts[0]
		w.fast(true, true)
		h.await("the link is up", func() bool { l, _ := h.to("h2"); return l != nil })
		h.guest.Write(0, []ether.Packet{frame(mac(1), everybody())})
		time.Sleep(time.Second)
		h.node.do(func(s *state) {
			r, err := overlay.ParseRule("from port:vm1 src any dst " + mac(9).String() + " to link:h2")
			r.ID = 5
			if _, err2 := s.edit([]overlay.Rule{r}, nil); err != nil || err2 != nil {
				t.Error(err, err2)
			}
		})
		status, err := h.node.GetStatus(ctx, &vnetv1.GetStatusRequest{})
		if s := status.GetStatus(); err != nil || s.Star != vnetv1.LinkState_LINK_STATE_UP || s.Links != 2 || s.LinksUp != 2 || s.Rules != 2 || s.Ports != 1 || len(s.Warnings) != 0 {
			t.Errorf("%v, %v", status, err)
		}
		ports, err := h.node.ListPorts(ctx, &vnetv1.ListPortsRequest{})
		if err != nil || len(ports.Ports) != 1 || !slices.Equal(ports.Ports[0].Macs, []string{mac(1).String()}) {
			t.Errorf("%v, %v", ports, err)
		}
		links, err := h.node.ListLinks(ctx, &vnetv1.ListLinksRequest{})
		if err != nil || len(links.Links) != 2 || links.Links[1].Name != "h2" || links.Links[1].Carrier != vnetv1.Carrier_CARRIER_UDP || links.Links[0].Kind != vnetv1.LinkKind_LINK_KIND_STAR {
			t.Errorf("%v, %v", links, err)
		}
		rules, err := h.node.ListRules(ctx, &vnetv1.ListRulesRequest{})
		if err != nil || len(rules.Rules) != 2 || rules.Rules[0].Id != 5 || !rules.Rules[0].Active || rules.Rules[0].Rank != 6 {
			t.Errorf("%v, %v", rules, err)
		}
		if only, err := h.node.ListRules(ctx, &vnetv1.ListRulesRequest{Origin: "learned"}); err != nil || len(only.Rules) != 1 {
			t.Errorf("%v, %v", only, err)
		}
		if _, err := h.node.ListRules(ctx, &vnetv1.ListRulesRequest{Origin: "heaven"}); err == nil {
			t.Error("rules of no origin")
		}
		if c := h.node.Candidates(); !slices.Equal(c, []netip.AddrPort{netip.AddrPortFrom(h.addr, 4500)}) {
			t.Errorf("candidates %v", c)
		}
		counters, err := h.node.GetCounters(ctx, &vnetv1.GetCountersRequest{})
		if err != nil || counters.Total.EdgeIn != 1 || counters.Total.LinkFramesSent != 1 || counters.Total.HopLimitHits != 0 {
			t.Errorf("%v, %v", counters, err)
		}
		stranger := netip.MustParseAddr("10.9.9.9")
		w.net.SetPathBoth(stranger, h.addr, wan.Path{Delay: time.Millisecond})
		socks, err := w.net.Host(stranger).ListenUDP(netip.AddrPortFrom(stranger, 1), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer socks[0].Close()
		if err := socks[0].WriteSegments(netip.AddrPortFrom(h.addr, 4500), make([]byte, 64), 64); err != nil {
			t.Fatal(err)
		}
		h.await("a stranger's datagram is counted", func() bool {
			now, err := h.node.GetCounters(ctx, &vnetv1.GetCountersRequest{})
			return err == nil && now.Total.Strays == counters.Total.Strays+1 && now.Total.Forged == 0
		})
		w.net.Cut(h.addr, w.proxy.addr)
		h.await("the cut is noticed", func() bool { return h.star() == nil })
		status, err = h.node.GetStatus(ctx, &vnetv1.GetStatusRequest{})
		if s := status.GetStatus(); err != nil || s.Star != vnetv1.LinkState_LINK_STATE_DOWN || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "link to proxy is down") {
			t.Errorf("%v, %v", status, err)
		}
		nodes, err := Service{h.node}.ListNodes(ctx, &vnetv1.ListNodesRequest{})
		if err != nil || len(nodes.Nodes) == 0 {
			t.Errorf("whom it knows without the Proxy: %v, %v", nodes, err)
		}
		w.proxy.await("the Proxy notices", func() bool { l, _ := w.proxy.to("h1"); return l == nil })
		status, err = w.proxy.node.GetStatus(ctx, &vnetv1.GetStatusRequest{})
		if s := status.GetStatus(); err != nil || s.Links != 2 || s.LinksUp != 1 || s.Role != vnetv1.Role_ROLE_PROXY {
			t.Errorf("%v, %v", status, err)
		}
	})
}

// Daemons ask one another over the star.
func TestCalls(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		h.stop()
		hold := make(chan struct{})
		h.start(w, func(c *Config) {
			c.Serve = func(ctx context.Context, method string, body []byte) control.Answer {
				switch method {
				case "Echo":
					return control.Answer{Body: body}
				case "Wait":
					select {
					case <-hold:
					case <-ctx.Done():
					}
				}
				return control.Answer{Code: "not_found", Error: "cannot " + method}
			}
		})
		h.await("the star is up", func() bool { return h.star() != nil })
		p := w.proxy.node
		a, err := p.Call(context.Background(), "h1", "Echo", []byte("hello"))
		if err != nil || string(a.Body) != "hello" {
			t.Errorf("%v, %v", a, err)
		}
		if _, err := p.Forward(context.Background(), "h1", "Nonsense", nil); err == nil || !strings.Contains(err.Error(), "cannot Nonsense") {
			t.Error(err)
		}
		if _, err := p.Call(context.Background(), "h7", "Echo", nil); err == nil || !strings.Contains(err.Error(), "star link is down") {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := p.Call(ctx, "h1", "Wait", nil); err == nil || !strings.Contains(err.Error(), "no answer in time") {
			t.Error(err)
		}
		close(hold)
		synctest.Wait()
		if len(p.calls.open) != 0 {
			t.Error("a call that is over is remembered")
		}
		// The Proxy of this test answers nothing; when the star goes, whoever waits is told.
		failed := make(chan error, 1)
		go func() {
			_, err := h.node.Forward(context.Background(), "proxy", "Anything", nil)
			failed <- err
		}()
		synctest.Wait()
		w.net.Cut(h.addr, w.proxy.addr)
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "star link went down") {
			t.Error(err)
		}
		if _, err := h.node.Forward(context.Background(), "proxy", "Anything", nil); err == nil || !strings.Contains(err.Error(), "link to the Proxy is down") {
			t.Error(err)
		}
	})
}

// What a host sees goes to the Proxy: who speaks at its ports, and how much.
func TestTheProxyIsTold(t *testing.T) {
	inTown(t, 1, func(t *testing.T, w *town) {
		h, hub := w.hosts[0], w.proxy.hub
		h.guest.Write(0, []ether.Packet{frame(mac(1), mac(2))})
		time.Sleep(time.Second)
		if a, ok := last[control.Announce](hub); !ok || len(a.Seen) != 1 || a.Seen[0].MAC != mac(1) || a.Seen[0].Port != "vm1" {
			t.Errorf("announced: %+v", a)
		}
		offered := uint64(0)
		for _, r := range all[vttif.Report](hub) {
			for _, d := range r.Deltas {
				if d.Pair == (vttif.Pair{Src: mac(1), Dst: mac(2)}) {
					offered += d.OfferedFrames
				}
			}
		}
		if offered != 1 {
			t.Errorf("%d frames were reported as offered", offered)
		}
		if _, err := New(Config{}); err == nil {
			t.Error("a node of nothing")
		}
	})
}

// A stage opens and proves a link, installs rules, and an abort takes all of it back.
func TestStages(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		ask := func(m control.StageRequest) control.StageReply {
			t.Helper()
			for i, h := range w.hosts {
				one := m
				if m.Stage == control.StagePrepare {
					peer := w.hosts[1-i]
					one.OpenLinks = []control.LinkSpec{{Peer: overlay.Name(peer.name), Dial: true, PeerAddrs: []netip.AddrPort{netip.AddrPortFrom(peer.addr, 4500)}, Origin: overlay.OriginUser}}
				}
				if err := w.proxy.node.SendTo(overlay.Name(h.name), one); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(6 * time.Second)
			r, ok := last[control.StageReply](w.proxy.hub)
			if !ok || r.Change != m.Change || r.Stage != m.Stage {
				t.Fatalf("no reply to %s of %d: %+v", m.Stage, m.Change, r)
			}
			return r
		}
		rule := overlay.Rule{ID: 9, Arrival: overlay.AtPort("vm1"), Dst: overlay.ExactMAC(mac(5)), Src: overlay.Match{Kind: overlay.Any}, Out: overlay.AtPort("vm2")}
		if r := ask(control.StageRequest{Change: 1, Stage: control.StagePrepare, AddRules: []overlay.Rule{rule}}); r.OK || !strings.Contains(r.Error, "port vm1") && !strings.Contains(r.Error, `port "vm2"`) {
			t.Errorf("a rule to a port that is not there: %+v", r)
		}
		if l, _ := w.hosts[0].to("h2"); l != nil {
			t.Error("what failed was not taken back")
		}
		rule.Out = overlay.AtLink("proxy")
		if r := ask(control.StageRequest{Change: 2, Stage: control.StagePrepare, AddRules: []overlay.Rule{rule}}); !r.OK || len(r.Opened) != 1 {
			t.Errorf("prepare: %+v", r)
		}
		if r := ask(control.StageRequest{Change: 2, Stage: control.StageAbort}); !r.OK {
			t.Errorf("abort: %+v", r)
		}
		for _, h := range w.hosts {
			h.node.do(func(s *state) {
				if len(s.rules) != 0 {
					t.Errorf("%s keeps %v", h.name, s.rules)
				}
			})
		}
		time.Sleep(15 * time.Second)
		if _, live := w.hosts[0].to("h2"); live != 0 {
			t.Errorf("%d sessions of a change that was taken back", live)
		}
	})
}
