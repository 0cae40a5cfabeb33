package proxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
)

// What the Proxy is asked on behalf of another node it answers itself when it
// concerns the overlay, and has that node answer when it concerns the node.
func TestForward(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		ctx, p := context.Background(), w.proxy.proxy
		ask := func(to, method string, req, into proto.Message) error {
			t.Helper()
			body, err := proto.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := p.Forward(ctx, to, method, body)
			if err != nil {
				return err
			}
			return proto.Unmarshal(answer, into)
		}
		var link vnetv1.AddLinkResponse
		if err := ask("h1", "AddLink", &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2", Carrier: vnetv1.Carrier_CARRIER_TCP}, &link); err != nil || link.Link.Carrier != vnetv1.Carrier_CARRIER_TCP {
			t.Errorf("%v, %v", &link, err)
		}
		var rule vnetv1.AddRuleResponse
		dst := w.guests[1].mac.String()
		if err := ask("h1", "AddRule", &vnetv1.AddRuleRequest{Node: "h1", Rule: &vnetv1.Rule{Arrival: "port:vm1", Src: "any", Dst: dst, Out: "link:h2"}}, &rule); err != nil || rule.Rule.Id == 0 {
			t.Errorf("%v, %v", &rule, err)
		}
		var rules vnetv1.ListRulesResponse
		if err := ask("h1", "ListRules", &vnetv1.ListRulesRequest{Origin: "user"}, &rules); err != nil || len(rules.Rules) != 1 || rules.Rules[0].Id != rule.Rule.Id {
			t.Errorf("%v, %v", &rules, err)
		}
		n := w.guests[0].send(w.guests[1].mac)
		time.Sleep(time.Second)
		if w.guests[1].times(n) != 1 {
			t.Errorf("a frame over the new path came %d times", w.guests[1].times(n))
		}
		if err := ask("h1", "DeleteLink", &vnetv1.DeleteLinkRequest{Node: "h1", Peer: "h2"}, &vnetv1.DeleteLinkResponse{}); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("a link in use was deleted: %v", err)
		}
		if err := ask("h1", "DeleteRule", &vnetv1.DeleteRuleRequest{Node: "h1", Id: rule.Rule.Id}, &vnetv1.DeleteRuleResponse{}); err != nil {
			t.Error(err)
		}
		if err := ask("h1", "DeleteLink", &vnetv1.DeleteLinkRequest{Node: "h1", Peer: "h2"}, &vnetv1.DeleteLinkResponse{}); err != nil {
			t.Error(err)
		}
		if err := ask("h9", "ListRules", &vnetv1.ListRulesRequest{}, &rules); err == nil || !strings.Contains(err.Error(), `cannot find node "h9"`) {
			t.Error(err)
		}
		if _, err := p.Forward(ctx, "h1", "AddRule", []byte{0xff}); err == nil {
			t.Error("rubbish was decoded")
		}
		w.hosts[0].crash()
		time.Sleep(2 * time.Second)
		if err := ask("h1", "ListRules", &vnetv1.ListRulesRequest{}, &rules); err == nil || !strings.Contains(err.Error(), "star link is down") {
			t.Error(err)
		}
		if status, err := w.service().GetStatus(ctx, &vnetv1.GetStatusRequest{}); err != nil || !strings.Contains(strings.Join(status.Status.Warnings, ";"), "h1 is away") {
			t.Errorf("%v, %v", status, err)
		}
	})
}

func TestCountersOfAllNodes(t *testing.T) {
	inWorld(t, []int{1, 1, 2}, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		out, err := w.service().GetCounters(context.Background(), &vnetv1.GetCountersRequest{All: true})
		if err != nil || len(out.Nodes) != 3 {
			t.Fatalf("%v, %v", out, err)
		}
		c := out.Total // four guests have greeted the three others each
		if c.EdgeIn != 4 || c.EdgeOut != 12 || c.EdgeIn+c.Copies != c.EdgeOut || c.WireLost+c.HopLimitHits+c.Duplicates != 0 {
			t.Errorf("%v", c)
		}
		w.hosts[0].stop()
		host := node.Service{Node: w.hosts[1].node}
		w.await("h1 is away", func() bool {
			out, err := host.GetCounters(context.Background(), &vnetv1.GetCountersRequest{All: true}) // a host has the Proxy ask
			return err == nil && len(out.Nodes) == 2 && strings.Join(out.Silent, " ") == "h1"
		})
		if own, err := host.GetCounters(context.Background(), &vnetv1.GetCountersRequest{}); err != nil || len(own.Nodes) != 1 || own.Nodes[0].Node != "h2" {
			t.Errorf("%v, %v", own, err)
		}
	})
}

// Nonsense is refused with a word of what is allowed, and nothing changes.
func TestNonsenseIsRefused(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		ctx, before := context.Background(), w.record()
		rule := func(arrival, src, dst, out string) error {
			_, err := w.service().AddRule(ctx, &vnetv1.AddRuleRequest{Node: "h1", Rule: &vnetv1.Rule{Arrival: arrival, Src: src, Dst: dst, Out: out}})
			return err
		}
		add := func(req *vnetv1.AddLinkRequest) error { _, err := w.service().AddLink(ctx, req); return err }
		del := func(peer string) error {
			_, err := w.service().DeleteLink(ctx, &vnetv1.DeleteLinkRequest{Node: "h1", Peer: peer})
			return err
		}
		mac := w.guests[0].mac.String()
		for name, c := range map[string]struct {
			err  error
			want string
		}{
			"bad MAC":        {rule("any", "any", "02:zz", "link:proxy"), "02:zz"},
			"unknown link":   {rule("any", "any", mac, "link:h2"), "h1 has links to proxy; add one"},
			"unknown port":   {rule("any", "any", mac, "port:vm9"), "h1 has ports vm1"},
			"not/not":        {rule("any", "not "+mac, "not "+mac, "link:proxy"), "use \"any\" on one side"},
			"nowhere":        {rule("any", "any", mac, "any"), "a rule sends to port:NAME or link:NODE"},
			"itself":         {add(&vnetv1.AddLinkRequest{Node: "h1", Peer: "h1"}), "name two nodes"},
			"nobody":         {add(&vnetv1.AddLinkRequest{Node: "h1", Peer: "h7"}), "the overlay has [h1 h2 proxy]"},
			"the star":       {add(&vnetv1.AddLinkRequest{Node: "h1", Peer: "proxy"}), "it is there already"},
			"no address":     {add(&vnetv1.AddLinkRequest{Node: "h1", Peer: "h2", Addresses: []string{"here"}}), "want IP:PORT"},
			"the star away":  {del("proxy"), "the star stays"},
			"a link of none": {del("h2"), "there is none"},
		} {
			if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, c.err, c.want)
			}
		}
		if _, err := w.service().DeleteRule(ctx, &vnetv1.DeleteRuleRequest{Node: "h1", Id: 99}); err == nil {
			t.Error("a rule that is not there was deleted")
		}
		if after := w.record(); after.Generation != before.Generation || len(after.Nodes["h1"].Rules)+len(after.Links) != 0 {
			t.Errorf("something has changed: %+v", after)
		}
	})
}

// A client that does not wait is answered at once, and the link comes.
func TestAddLinkWithoutWaiting(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		begin := time.Now()
		req := &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2", NoWait: true}
		if out, err := w.service().AddLink(context.Background(), req); err != nil || out.Link.State != vnetv1.LinkState_LINK_STATE_CONNECTING || time.Since(begin) > 0 {
			t.Errorf("%v, %v after %v", out, err, time.Since(begin))
		}
		w.await("the link is up", func() bool {
			list, _ := w.hosts[0].node.ListLinks(context.Background(), &vnetv1.ListLinksRequest{})
			return len(list.Links) == 2 && list.Links[1].State == vnetv1.LinkState_LINK_STATE_UP
		})
		w.await("it is in the record", func() bool { return len(w.record().Links) == 1 })
		if _, err := w.service().AddLink(context.Background(), req); err == nil {
			t.Error("added twice")
		}
	})
}
