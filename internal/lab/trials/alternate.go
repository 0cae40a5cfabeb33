package trials

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// Alternation is an application that takes turns with two topologies by the clock.
type Alternation struct {
	Seed       uint64  `json:"seed"`
	TurnS      float64 `json:"turn_s"` // how long each lasts
	Turns      int     `json:"turns"`
	Changes    int     `json:"changes"`
	PerTurn    float64 `json:"changes_per_turn"`
	Reversed   int     `json:"reversed_within_bound"` // links closed, or opened again, within the effective bound
	SoonestS   float64 `json:"soonest_reversal_s"`    // shortest time between a link's opening and closing, or the reverse; 0: none was reversed
	BoundS     float64 `json:"effective_bound_s"`     // configuration, reaction and judging time; the last
	Iterations int     `json:"iterations"`
	OnStar     int     `json:"iterations_on_star"` // in the same time
	simulate.Account
}

// alternating are the two: they share no edge in the order that is used, and the overlay is wanted by both.
const (
	alternateFirst, alternateSecond = "ring", "hypercube"
	alternateLeast                  = 60 * time.Second // of a run
	alternateTurns                  = 12               // of a run at least
)

// Alternate runs the application in the environment with eight VMs, with and without adaptation.
func Alternate(e Environment, turn time.Duration, seed uint64) (Alternation, error) {
	out := Alternation{Seed: seed, TurnS: turn.Seconds()}
	spec, err := e.Spec(8)
	if err != nil {
		return out, err
	}
	var schedules []*workload.Schedule
	for _, name := range []string{alternateFirst, alternateSecond} {
		s, err := workload.New(name, 8, workload.Options{Bytes: e.Bytes})
		if err != nil {
			return out, err
		}
		schedules = append(schedules, s)
	}
	length := max(alternateLeast, alternateTurns*turn)
	out.Turns = int(length / turn)
	order := Setting{VMs: 8, Seed: seed}.Order()
	for _, mode := range []adapt.Mode{adapt.Observe, adapt.Auto} {
		err := simulate.Run(spec, simulate.Config{Seed: seed, Adapt: adapt.Config{Mode: mode}}, func(w *simulate.World) error {
			app := w.Start(order, 0, turn, schedules...)
			if err := w.Pass(length, nil); err != nil {
				return err
			}
			if mode == adapt.Observe {
				out.OnStar = app.Iterations()
				return nil
			}
			out.Iterations = app.Iterations()
			return out.judge(w)
		})
		if err != nil {
			return out, fmt.Errorf("alternating every %v: %w", turn, err)
		}
	}
	out.PerTurn = float64(out.Changes) / float64(out.Turns)
	return out, nil
}

// judge asks the Proxy what it did.
func (a *Alternation) judge(w *simulate.World) error {
	ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
	if err != nil {
		return err
	}
	bound, err := w.Service().GetBound(context.Background(), &vnetv1.GetBoundRequest{})
	if err != nil {
		return err
	}
	a.Reckon(ad.Adaptation, bound.Bound)
	a.Account, err = w.Account()
	return err
}

// Reckon counts changes, and those that take back what was done a moment before.
func (a *Alternation) Reckon(ad *vnetv1.Adaptation, bound *vnetv1.Bound) {
	a.BoundS = adapt.EffectiveBound(bound.GetValue().AsDuration()).Seconds()
	done := map[string]time.Time{} // when it was begun that a link be opened or closed
	for _, c := range slices.Backward(ad.GetHistory()) {
		if c.Outcome == "failed" || c.Proposal == nil {
			continue
		}
		a.Changes++
		for _, s := range c.Proposal.Steps {
			what, ok := strings.CutPrefix(s.What, "open link ")
			if !ok {
				if what, ok = strings.CutPrefix(s.What, "close link "); !ok {
					continue
				}
			}
			if at, was := done[what]; was {
				after := c.Started.AsTime().Sub(at)
				if after < c.EffectiveBound.AsDuration() {
					a.Reversed++
				}
				if s := after.Seconds(); a.SoonestS == 0 || s < a.SoonestS {
					a.SoonestS = s
				}
			}
			done[what] = c.Started.AsTime()
		}
	}
}

// gain is how many times the star's iterations were done.
func (a Alternation) gain() float64 { return float64(a.Iterations) / float64(max(a.OnStar, 1)) }

// Head names the columns of Row.
func (a Alternation) Head() []string {
	return []string{"turn, s", "turns", "changes", "a turn", "reversed within the bound", "soonest, s", "effective bound, s", "iterations", "on the star", "gain"}
}

// Row is its line in a table.
func (a Alternation) Row() []string {
	return []string{
		fmt.Sprint(a.TurnS), fmt.Sprint(a.Turns), fmt.Sprint(a.Changes), fmt.Sprintf("%.3f", a.PerTurn), fmt.Sprint(a.Reversed),
		fmt.Sprintf("%.2f", a.SoonestS), fmt.Sprintf("%.2f", a.BoundS), fmt.Sprint(a.Iterations), fmt.Sprint(a.OnStar), fmt.Sprintf("%.2f", a.gain()),
	}
}
