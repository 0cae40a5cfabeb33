package node

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// portState is what the node says of its port's offloads.
func portState(t *testing.T, all []*vnetv1.Offload) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, o := range all {
		if o.GetOn() != (o.GetWhy() == "") {
			t.Errorf("no reason, or one too many: %v", o)
		}
		if o.GetPort() != "" {
			state[o.GetName()] = o.GetWhy()
		}
	}
	return state
}

func TestOffloadsAreSwitchedAndSayWhy(t *testing.T) {
	inTown(t, 2, func(t *testing.T, w *town) {
		ctx, h := context.Background(), w.hosts[0]
		status, err := h.node.GetStatus(ctx, &vnetv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		all := status.GetStatus().GetOffloads()
		if len(all) != 6 || all[0].GetName() != "gso" || all[0].GetWhy() != "this network has none" || all[1].GetName() != "gro" {
			t.Errorf("before anything was switched: %v", all)
		}
		const off, needs = "switched off", "it needs csum"
		steps := []struct {
			name string
			on   bool
			want map[string]string
		}{
			{"uso", false, map[string]string{"csum": "", "tso4": "", "tso6": "", "uso": off}},
			{"csum", false, map[string]string{"csum": off, "tso4": needs, "tso6": needs, "uso": needs}},
			{"csum", true, map[string]string{"csum": "", "tso4": "", "tso6": "", "uso": off}},
			{"tso", false, map[string]string{"csum": "", "tso4": off, "tso6": off, "uso": off}},
			{"uso", true, map[string]string{"csum": "", "tso4": off, "tso6": off, "uso": ""}},
			{"gso", false, map[string]string{"csum": "", "tso4": off, "tso6": off, "uso": ""}},
			{"tso", true, map[string]string{"csum": "", "tso4": "", "tso6": "", "uso": ""}},
		}
		for _, s := range steps {
			answer, err := h.node.SetOffload(ctx, &vnetv1.SetOffloadRequest{Name: s.name, On: s.on})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.want, portState(t, answer.GetOffloads())); diff != "" {
				t.Errorf("%s %v (-want +got):\n%s", s.name, s.on, diff)
			}
		}
		if _, err := h.node.SetOffload(ctx, &vnetv1.SetOffloadRequest{Name: "warp"}); err == nil {
			t.Error("an offload that does not exist was switched")
		}
		h.guest.Write(0, []ether.Packet{frame(mac(1), everybody())})
		h.await("frames still flow", func() bool { return h.node.Totals().EdgeIn == 1 })
	})
}

func TestANodeStartsWithoutWhatIsSwitchedOff(t *testing.T) {
	if err := (&Config{Off: []string{"warp"}}).validate(); err == nil {
		t.Error("a configuration without an offload that does not exist was taken")
	}
	inTown(t, 1, func(t *testing.T, w *town) {
		h := w.hosts[0]
		h.stop()
		h.start(w, func(c *Config) { c.Off = []string{"tso", "gro"} })
		want := map[string]string{"csum": "", "tso4": "switched off", "tso6": "switched off", "uso": ""}
		if diff := cmp.Diff(want, portState(t, h.node.offloads())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
