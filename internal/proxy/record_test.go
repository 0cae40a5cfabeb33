package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// A damaged record stops the Proxy with a word of what to do: to go on without
// it would take the user's rules away.
func TestDamagedRecordIsNotGuessed(t *testing.T) {
	p := issuePapers(t, 0)
	for name, c := range map[string]struct{ key, value, want string }{
		"the record is no text": {keyRecord, "\x00\x01", "cannot read the Proxy's record"},
		"a rule is no rule": {keyRecord, `{"ports":{"h1":[]},"rules":{"h1":[{"id":7,"rule":"to somewhere","origin":"user"}]}}`,
			"cannot read rule 7 of h1"},
		"an origin is none": {keyRecord, `{"ports":{"h1":[]},"rules":{"h1":[{"id":7,"rule":"src any dst any to link:h2","origin":"heaven"}]}}`,
			"cannot read rule 7 of h1"},
		"places are no text":   {keyPlaces, "[", "cannot read the Proxy's places"},
		"the bound is no text": {keyBound, "[", "cannot read the Proxy's bound"},
		"settings are no text": {keySettings, "{", "cannot read the Proxy's adaptation"},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := store.Memory()
			if err := disk.Put(recordBucket, c.key, []byte(c.value)); err != nil {
				t.Fatal(err)
			}
			w := newNet(t, p)
			w.proxy.disk = disk
			run, _ := w.proxy.daemon()
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			err := run(ctx)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			if strings.Contains(c.want, "Proxy's") && (err == nil || !strings.Contains(err.Error(), "backup")) {
				t.Errorf("%s: %v says not what to do", name, err)
			}
			for _, g := range w.guests {
				g.unplug()
			}
		})
	}
}

// What was written down is there after a restart, and a rule's number is never given twice.
func TestRecordOutlivesTheProxy(t *testing.T) {
	inWorld(t, []int{1, 1, 1}, func(t *testing.T, w *world) {
		ctx := context.Background()
		add := func(text string) uint64 {
			t.Helper()
			r, err := overlay.ParseRule(text)
			if err != nil {
				t.Fatal(err)
			}
			out, err := w.service().AddRule(ctx, &vnetv1.AddRuleRequest{Node: "h1", Rule: ruleOut(r)})
			if err != nil {
				t.Fatal(err)
			}
			return out.Rule.Id
		}
		drop := func(id uint64) {
			t.Helper()
			if _, err := w.service().DeleteRule(ctx, &vnetv1.DeleteRuleRequest{Node: "h1", Id: id}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.service().AddLink(ctx, &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service().SetBound(ctx, &vnetv1.SetBoundRequest{Value: seconds(3)}); err != nil {
			t.Fatal(err)
		}
		first := add("from port:vm1 src any dst " + w.hosts[1].guests[0].mac.String() + " to link:h2")
		second := add("from port:vm1 src any dst 02:00:00:00:77:77 to link:h2")
		drop(second)
		before := w.record()
		time.Sleep(2 * time.Second)
		w.proxy.crash()
		w.proxy.start()
		w.await("the hosts are back", w.up)
		after := w.record()
		if after.Generation < before.Generation || len(after.Links) != len(before.Links) || len(after.VMs) != len(before.VMs) ||
			len(after.Nodes["h1"].Rules) != 1 || after.Nodes["h1"].Rules[0] != before.Nodes["h1"].Rules[0] {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if b, err := w.service().GetBound(ctx, &vnetv1.GetBoundRequest{}); err != nil || b.Bound.Value.AsDuration() != 3*time.Second || b.Bound.Origin != "user" {
			t.Errorf("the user's bound: %v, %v", b, err)
		}
		if third := add("from port:vm1 src any dst 02:00:00:00:77:78 to link:h2"); third <= second || third <= first {
			t.Errorf("rule %d was given after rules %d and %d", third, first, second)
		}
	})
}

// A full disk stops nothing and is told.
func TestFullDiskIsReported(t *testing.T) {
	inWorld(t, []int{0, 1, 1}, func(t *testing.T, w *world) {
		w.proxy.disk.Close()
		if _, err := w.service().AddLink(context.Background(), &vnetv1.AddLinkRequest{Node: "h1", Peer: "h2"}); err != nil {
			t.Error(err)
		}
		w.await("it is told", func() bool {
			status, err := w.service().GetStatus(context.Background(), &vnetv1.GetStatusRequest{})
			return err == nil && strings.Contains(strings.Join(status.Status.Warnings, "\n")+w.events(), "disk")
		})
	})
}

func TestProxyWantsItsAuthorityAndItsDisk(t *testing.T) {
	if _, err := New(Config{}); err == nil || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// newNet is a world whose only machine, the Proxy's, is off.
func newNet(t *testing.T, p *papers) *world {
	w := newWorld(t, p, 1, wan.Path{Delay: time.Millisecond}, 1)
	w.stop()
	return w
}
