package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/program"
)

const (
	// measured is how many iterations each median rests on, at least.
	measured = 20
	// skipped is how many iterations after a change are not counted: connections find their new speed.
	skipped = 2
	// steady is how long the application runs before the star is measured: connections find their speed there too.
	steady = 2 * time.Second
	// calm is how long the adapted overlay runs at least before it is judged: congestion windows that the full queue
	// of the star had cut take some seconds to grow again.
	calm = 8 * time.Second
)

// Demo is one telling of the story.
type Demo struct {
	cfg  Config
	View *View // what is known so far, for whoever draws

	lab     *lab.Lab
	daemons *lab.Daemons
	app     *program.Application
	watch   *watcher
	result  Result
}

// New checks the configuration; Run tells the story.
func New(cfg Config) (*Demo, error) {
	cfg = cfg.cooked()
	schedule, err := cfg.schedule()
	if err != nil {
		return nil, err
	}
	return &Demo{
		cfg: cfg, View: newView(cfg),
		result: Result{VMs: cfg.VMs, Pattern: cfg.Pattern, Seed: cfg.Seed, SpeedupBound: speedupBound(schedule)},
	}, nil
}

// Run builds the lab, tells the story and returns what was measured. With keep, hold is called before the lab goes.
func (d *Demo) Run(ctx context.Context, hold func(*lab.Lab) error) (Result, error) {
	d.View.Say("building a lab: %d hosts and the Proxy, 100 Mbit/s each", d.cfg.VMs)
	l, err := lab.Start(ctx, d.cfg.spec(), lab.Options{})
	if err != nil {
		return d.result, err
	}
	defer l.Close()
	d.lab = l
	d.View.Say("starting %d daemons; each host joins with a one-time token", d.cfg.VMs+1)
	if d.daemons, err = l.StartOverlay(ctx); err != nil {
		return d.result, err
	}
	err = d.story(ctx)
	if hold != nil && err == nil {
		err = hold(l)
	}
	return d.result, err
}

func (d *Demo) story(ctx context.Context) error {
	if err := d.adapt(ctx, "observe"); err != nil {
		return err
	}
	var err error
	if d.watch, err = watch(d.lab, d.View); err != nil {
		return err
	}
	d.View.Say("the star stands; starting %q in every VM, in a shuffled order", d.cfg.Pattern)
	if d.app, err = d.start(); err != nil {
		return err
	}
	if err := d.measureStar(ctx); err != nil {
		return err
	}
	if err := d.measureAdapted(ctx); err != nil {
		return err
	}
	return d.finish(ctx)
}

// measureStar lets the application run on the star until its iterations are known and its topology is inferred.
func (d *Demo) measureStar(ctx context.Context) error {
	began, err := d.app.Began(ctx)
	if err != nil {
		return err
	}
	inferred, err := d.watch.await(ctx, d.app, "topology", began)
	if err != nil {
		return fmt.Errorf("cannot see the application: %w", err)
	}
	d.result.InferenceS = round(inferred.Sub(began).Seconds())
	from := began.Add(steady)
	if err := d.app.Await(ctx, from, measured); err != nil {
		return err
	}
	d.result.Star = d.timing(from, time.Now())
	return nil
}

// measureAdapted allows the overlay to adapt and measures what came of it.
func (d *Demo) measureAdapted(ctx context.Context) error {
	d.View.Say("iterations take %.0f ms on the star; now the overlay may adapt", d.result.Star.IterationMS)
	allowed := time.Now()
	if err := d.adapt(ctx, "auto"); err != nil {
		return err
	}
	if _, err := d.watch.await(ctx, d.app, "change.committed", allowed); err != nil {
		return fmt.Errorf("cannot adapt: %w", err)
	}
	d.View.Say("fast paths are in use; measuring")
	var after time.Time
	for {
		last := d.watch.last("change.committed")
		after = d.app.After(last, skipped)
		if err := d.app.Await(ctx, after, measured); err != nil {
			return err
		}
		if rest := time.Until(last.Add(calm)); rest > 0 {
			if err := d.app.Wait(ctx, rest); err != nil {
				return err
			}
		}
		if d.watch.last("change.committed").Equal(last) {
			d.result.AdaptationS = round(last.Sub(allowed).Seconds())
			break
		}
	}
	d.result.Adapted = d.timing(after, time.Now())
	if d.result.Adapted.IterationMS > 0 {
		d.result.Speedup = round(d.result.Star.IterationMS / d.result.Adapted.IterationMS)
	}
	return d.topology(ctx)
}

// topology asks the Proxy what it inferred and which links it added.
func (d *Demo) topology(ctx context.Context) error {
	var app struct {
		App struct {
			Groups []struct {
				Name  string
				Order []string
				Edges []struct {
					A, B   string
					Weight float64
				}
			}
		}
	}
	if err := d.ask(ctx, &app, "app"); err != nil {
		return err
	}
	var names []string
	for _, g := range app.App.Groups {
		names = append(names, g.Name)
		d.result.Topology.Order = append(d.result.Topology.Order, g.Order...)
		for _, e := range g.Edges {
			d.result.Topology.Edges = append(d.result.Topology.Edges, [3]any{e.A, e.B, round(e.Weight)})
		}
	}
	d.result.Topology.Name = strings.Join(names, " + ")
	var adaptation struct {
		Adaptation struct{ Links []json.RawMessage }
	}
	if err := d.ask(ctx, &adaptation, "adapt", "status"); err != nil {
		return err
	}
	d.result.LinksAdded = len(adaptation.Adaptation.Links)
	return nil
}

// finish stops the application, checks every byte, and closes the account of frames.
func (d *Demo) finish(ctx context.Context) error {
	bytes, err := d.app.Stop(ctx)
	if err != nil {
		return err
	}
	d.result.Bytes = bytes
	a, err := d.daemons.Account(ctx)
	d.result.FramesLost, d.result.WireLost, d.result.Duplicates = a.FramesLost, a.WireLost, a.Duplicates
	return err
}

// adapt sets the Proxy's mode, as a user would.
func (d *Demo) adapt(ctx context.Context, mode string) error {
	_, err := d.daemons.Vnet(ctx, "proxy", "adapt", mode)
	return err
}

// ask runs a client command at the Proxy and reads its JSON.
func (d *Demo) ask(ctx context.Context, into any, args ...string) error {
	text, err := d.daemons.Vnet(ctx, "proxy", append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("cannot read the answer to %v: %w", args, err)
	}
	return nil
}

// start runs one rank in each VM, dealt out in a shuffled order.
func (d *Demo) start() (*program.Application, error) {
	p := program.Plan{Pattern: d.cfg.Pattern, Bytes: exchange, Args: []string{"--duration", (5 * time.Minute).String()}, Iteration: d.View.iteration}
	for _, vm := range d.cfg.ranks() {
		p.In, p.Addresses = append(p.In, vmName(vm)), append(p.Addresses, vmAddress(vm).Addr())
	}
	return program.Start(d.lab, p)
}

// timing is the median over all ranks' iterations that lie within a time.
func (d *Demo) timing(from, to time.Time) Timing {
	ms, n := d.app.Timing(from, to)
	return Timing{IterationMS: round(ms), Iterations: n}
}
