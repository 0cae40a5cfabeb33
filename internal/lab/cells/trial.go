// Package cells repeats experiments of the simulator in the lab, with the built program and real TCP, and holds the two against
// each other; the same application runs by several policies one after the other in one lab.
//
// What there is to repeat, and what the simulator says of it, is package trials'.
package cells

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/program"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/trials"
)

// Run is one application by one policy.
type Run struct {
	Policy     string  `json:"policy"`
	Iterations int     `json:"iterations"`  // done
	IterationS float64 `json:"iteration_s"` // mean of the second half
	HeadS      float64 `json:"head_s"`      // what the first half took
	Links      int     `json:"links"`       // adapted, at the end
}

// Seconds is how long a job of n iterations takes: the first half as it was, the rest as the second half went.
func (r Run) Seconds(n int) float64 {
	half := r.Iterations / 2
	return r.HeadS + float64(n-half)*r.IterationS
}

// Trial is one setting in one lab.
type Trial struct {
	Setting string         `json:"setting"`
	Seed    uint64         `json:"seed"`
	Runs    map[string]Run `json:"runs"`   // by policy
	Missed  uint64         `json:"missed"` // wire packets that the machine was too slow for: then it was measured, and not the paths
	lab.Account
}

// job is how many iterations a minute's work is by the oracle.
func (t Trial) job() int { return max(1, int(trials.Work.Seconds()/t.Runs["oracle"].IterationS)) }

// Ratio is the running time of a minute's work by a policy, to that by another.
func (t Trial) Ratio(policy, to string) float64 {
	n := t.job()
	return t.Runs[policy].Seconds(n) / t.Runs[to].Seconds(n)
}

// try builds the lab and runs the application by each policy for so long.
func try(ctx context.Context, s trials.Setting, length time.Duration, policies ...string) (Trial, error) {
	t := Trial{Setting: s.String(), Seed: s.Seed, Runs: map[string]Run{}}
	b, end, err := open(ctx, s)
	if err != nil {
		return t, err
	}
	defer end()
	for _, policy := range policies {
		if t.Runs[policy], err = b.run(ctx, policy, length); err != nil {
			return t, fmt.Errorf("%s by %s: %w", s, policy, err)
		}
	}
	if t.Account, err = b.daemons.Account(ctx); err != nil {
		return t, err
	}
	paths, err := b.lab.Paths()
	for _, n := range paths.Missed {
		t.Missed += n
	}
	return t, err
}

// bench is a lab with its overlay and what is to run in it.
type bench struct {
	trials.Setting
	lab     *lab.Lab
	daemons *lab.Daemons
	more    []string // options of the program
}

func (b bench) vnet(ctx context.Context, args ...string) error {
	_, err := b.daemons.Vnet(ctx, b.lab.Spec().Overlay.Proxy, args...)
	return err
}

// run begins on the star, with an inference that has seen nothing.
func (b bench) run(ctx context.Context, policy string, length time.Duration) (Run, error) {
	r := Run{Policy: policy}
	if err := b.clear(ctx); err != nil {
		return r, err
	}
	if err := b.vnet(ctx, "app", "set", "--defaults"); err != nil {
		return r, err
	}
	schedule, err := b.Schedule()
	if err != nil {
		return r, err
	}
	args := []string{"adapt", "auto", "--policy", policy}
	before := 0 // links that do not wait for traffic
	switch policy {
	case "oracle":
		args, before = append(args, "--told", b.told()), len(schedule.Edges())
	case "mesh":
		before = b.VMs * (b.VMs - 1) / 2
	}
	if err := b.vnet(ctx, args...); err != nil {
		return r, err
	}
	if err := b.links(ctx, before); err != nil {
		return r, err
	}
	if r, err = b.program(ctx, r, nil, length); err != nil {
		return r, err
	}
	r.Links, err = b.opened(ctx)
	return r, err
}

// clear goes back to the star. A link that was closed may not come again within the effective bound: were the next policy not to
// wait for that, it would pay for the one before it.
func (b bench) clear(ctx context.Context) error {
	had, err := b.opened(ctx)
	if err != nil {
		return err
	}
	if err := b.vnet(ctx, "adapt", "auto", "--policy", "star"); err != nil {
		return err
	}
	if err := b.links(ctx, 0); err != nil || had == 0 {
		return err
	}
	bound := &vnetv1.GetBoundResponse{}
	if err := b.ask(ctx, bound, "bound"); err != nil {
		return err
	}
	select {
	case <-time.After(adapt.EffectiveBound(bound.Bound.Value.AsDuration()) + time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// program runs the application in the VMs, or at the addresses of hosts, and measures it.
func (b bench) program(ctx context.Context, r Run, at *peer, length time.Duration) (Run, error) {
	p := program.Plan{Pattern: b.Pattern, Bytes: b.Environment.Bytes, Seed: b.Seed, Args: append([]string{"--duration", length.String()}, b.more...)}
	for _, i := range b.Order() {
		vm := b.lab.Spec().VMs[i]
		if at == nil {
			p.In, p.Addresses = append(p.In, vm.Name), append(p.Addresses, vm.Address.Addr())
			continue
		}
		p.In, p.Addresses = append(p.In, vm.Host), append(p.Addresses, at.address(vm.Host))
	}
	app, err := program.Start(b.lab, p)
	if err != nil {
		return r, err
	}
	if _, err := app.Finish(ctx, length+program.Patience); err != nil {
		return r, err
	}
	began, ended := app.Ran()
	r.Iterations = len(ended)
	half := len(ended) / 2
	if half < 2 {
		return r, fmt.Errorf("only %d iterations in %v", len(ended), length)
	}
	r.HeadS = ended[half-1].Sub(began).Seconds()
	r.IterationS = ended[len(ended)-1].Sub(ended[half-1]).Seconds() / float64(len(ended)-half)
	return r, nil
}

// told are the pairs that will talk, by their MACs.
func (b bench) told() string {
	schedule, err := b.Schedule()
	if err != nil {
		return "" // run has looked
	}
	var pairs []string
	order, vms := b.Order(), b.lab.Spec().VMs
	for _, e := range schedule.Edges() {
		pairs = append(pairs, fmt.Sprintf("%s=%s", vms[order[e.A]].MAC, vms[order[e.B]].MAC))
	}
	return strings.Join(pairs, ",")
}

// links waits until adaptation has so many.
func (b bench) links(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeout(ctx, program.Patience)
	defer cancel()
	for {
		got, err := b.opened(ctx)
		if err != nil || got == want {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("adaptation has %d links and not %d: %w", got, want, ctx.Err())
		}
	}
}

// opened is how many links adaptation has.
func (b bench) opened(ctx context.Context) (int, error) {
	status := &vnetv1.GetAdaptationResponse{}
	err := b.ask(ctx, status, "adapt", "status")
	return len(status.GetAdaptation().GetLinks()), err
}

// alternateRing and alternateStar take turns: every pair of the four VMs is in one of them or in neither.
const alternateRing, alternateStar = "ring", "broadcast"

// Alternate runs an application of four VMs that takes turns with two topologies by the clock, on the star and with adaptation,
// for so many turns, half a minute at least.
func Alternate(ctx context.Context, turn time.Duration, turns int, seed uint64) (out trials.Alternation, account lab.Account, err error) {
	out = trials.Alternation{Seed: seed, TurnS: turn.Seconds(), Turns: turns}
	e, err := trials.EnvironmentNamed("cluster")
	if err != nil {
		return out, account, err
	}
	s := trials.Setting{Environment: e, VMs: 4, Pattern: alternateRing, Seed: seed}
	b, end, err := open(ctx, s)
	if err != nil {
		return out, account, err
	}
	defer end()
	b.more = []string{"--alternate", alternateStar, "--period", turn.String()}
	for _, mode := range []string{"observe", "auto"} {
		if err := b.vnet(ctx, "app", "set", "--defaults"); err != nil {
			return out, account, err
		}
		if err := b.vnet(ctx, "adapt", mode); err != nil {
			return out, account, err
		}
		r, err := b.program(ctx, Run{Policy: mode}, nil, time.Duration(turns)*turn)
		if err != nil {
			return out, account, fmt.Errorf("alternating every %v, %s: %w", turn, mode, err)
		}
		out.OnStar, out.Iterations = out.Iterations, r.Iterations
	}
	ad, bound := &vnetv1.GetAdaptationResponse{}, &vnetv1.GetBoundResponse{}
	if err := b.ask(ctx, ad, "adapt", "status"); err != nil {
		return out, account, err
	}
	if err := b.ask(ctx, bound, "bound"); err != nil {
		return out, account, err
	}
	out.Reckon(ad.Adaptation, bound.Bound)
	out.PerTurn = float64(out.Changes) / float64(turns)
	account, err = b.daemons.Account(ctx)
	return out, account, err
}

// ask runs a client command at the Proxy and reads its answer.
func (b bench) ask(ctx context.Context, into proto.Message, args ...string) error {
	text, err := b.daemons.Vnet(ctx, b.lab.Spec().Overlay.Proxy, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("cannot read the answer to %v: %w", args, err)
	}
	return nil
}
