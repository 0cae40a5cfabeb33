package simulate

import (
	"context"
	"os"
	"testing"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

func TestTry(t *testing.T) {
	data, _ := os.ReadFile("../../../experiments/cluster8.yaml")
	spec, err := lab.Parse(data, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []adapt.Mode{adapt.Observe, adapt.Auto} {
		began := time.Now()
		err = Run(spec, Config{Seed: 1, Adapt: adapt.Config{Mode: mode}}, func(w *World) error {
			pat := os.Getenv("PAT")
			if pat == "" {
				pat = "alltoall"
			}
			s, err := workload.New(pat, 8, workload.Options{Bytes: 250000})
			if err != nil {
				return err
			}
			start := w.Now()
			a := w.Start([]int{3, 1, 2, 7, 5, 6, 4, 0}, 0, s)
			if err := w.Pass(60*time.Second, a.Done); err != nil {
				return err
			}
			for i := 0; i < a.Iterations(); i++ {
				if i < 12 || i%100 == 0 {
					t.Log(i, a.FinishedAt(i).Sub(start))
				}
			}
			t.Log(a.Iterations())
			ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
			if err != nil {
				return err
			}
			for _, h := range ad.Adaptation.History {
				t.Log(h.Started.AsTime().Sub(start), h.Total.AsDuration(), h.Outcome, h.Proposal.GetReason())
			}
			app, _ := w.Service().GetApp(context.Background(), &vnetv1.GetAppRequest{})
			for _, g := range app.App.Groups {
				t.Log(g.Name, len(g.Edges), g.Goal)
			}
			acc, err := w.Account()
			t.Logf("%+v", acc)
			return err
		})
		t.Log(mode, err, time.Since(began))
	}
}
