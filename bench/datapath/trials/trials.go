// Package trials is what is measured of our data path alone: fairness between peers, rekeys, a slow path, the queue of a
// TAP, rules that change, and several ports a link.
//
// It compares nothing with other people's programs; the rounds of the benchmark do.
package trials

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/report"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// Trial is one of them. It sets up what it needs on the stage of two hosts, under numbers of overlays from nr on, of which
// each trial may take ten.
type Trial struct {
	Name string
	Run  func(ctx context.Context, t *Table) error
}

// All are the trials in the order of the report.
func All() []Trial {
	return []Trial{{"fairness", fairness}, {"rekeys", rekeys}, {"slow path", slowPath}, {"queue", queue}, {"rules", rules}, {"ports", ports}}
}

// Table is what a trial works on and what it finds.
type Table struct {
	Stage    *stage.Stage
	Programs peers.Programs
	Nr       int
	Long     time.Duration // of one measurement
	Findings []report.Finding

	trial string
}

// Do runs one trial.
func (t *Table) Do(ctx context.Context, trial Trial) error {
	t.trial = trial.Name
	if err := trial.Run(ctx, t); err != nil {
		return fmt.Errorf("%s: %w", trial.Name, err)
	}
	return nil
}

// found notes one value.
func (t *Table) found(what string, value float64, aim string) {
	t.foundAll(what, []float64{value}, aim)
}

// foundAll notes what was measured several times.
func (t *Table) foundAll(what string, values []float64, aim string) {
	t.Findings = append(t.Findings, report.Finding{Trial: t.trial, What: what, Values: values, Aim: aim})
}

// wire makes a namespace of its own and joins it to another by a wire with the subnet 10.9.nr.0/24, whose .1 is in from.
func (t *Table) wire(ctx context.Context, from, to string, nr int) (a, b netip.Addr, err error) {
	a, b = netip.AddrFrom4([4]byte{10, 9, byte(nr), 1}), netip.AddrFrom4([4]byte{10, 9, byte(nr), 2})
	if err := t.Stage.Add(ctx, to); err != nil {
		return a, b, err
	}
	return a, b, t.Stage.Wire(ctx,
		stage.Tip{In: from, Name: "to-" + to, Address: netip.PrefixFrom(a, 24)},
		stage.Tip{In: to, Name: "to-" + from, Address: netip.PrefixFrom(b, 24)}, 1500)
}

// shape limits both directions of a wire: a token bucket of four packets in front of a queue of bytes, which holds as
// much as passes in the given time.
func (t *Table) shape(ctx context.Context, from, to string, bits int, queue time.Duration) error {
	limit := max(2*1514, int(float64(bits)/8*queue.Seconds()))
	for _, side := range [][2]string{{from, to}, {to, from}} {
		_, err := t.Stage.Run(ctx, side[0], "tc", "qdisc", "replace", "dev", "to-"+side[1], "root", "tbf",
			"rate", fmt.Sprint(bits), "burst", fmt.Sprint(4*1514), "limit", fmt.Sprint(limit))
		if err != nil {
			return err
		}
	}
	return nil
}

// tap gives a TAP that a daemon has made its guest's address.
func (t *Table) tap(ctx context.Context, in, device string, address netip.Addr) error {
	for _, words := range []string{fmt.Sprintf("address add %s/24 dev %s", address, device), "link set " + device + " up"} {
		if err := t.Stage.IP(ctx, in, words); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a new guest may take until others reach it.
const patience = 10 * time.Second

// quantile is the value below which the share q of all lie, in milliseconds.
func quantile(took []time.Duration, q float64) float64 {
	s := slices.Sorted(slices.Values(took))
	return float64(s[min(len(s)-1, int(q*float64(len(s))))]) / 1e6
}
