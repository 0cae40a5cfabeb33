package trials

import (
	"context"
	"fmt"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

const (
	// Work is how long a job takes by the oracle: the issue of adaptation is worth having when applications last a minute.
	Work = time.Minute
	// settled is how many iterations of a run that does not change any more are taken as warming up, and sampled how many are
	// measured: without dice in the application's way, more are the same again.
	settled, sampled = 8, 16
	// longest bounds the virtual time of one run.
	longest = 2 * time.Hour
)

// Job is one application run from its beginning to its end.
type Job struct {
	Policy     string  `json:"policy"`
	Iterations int     `json:"iterations"`
	Seconds    float64 `json:"seconds"`
	Links      int     `json:"links"` // adapted, at the end
	InferredS  float64 `json:"inferred_s"`
	AdaptedS   float64 `json:"adapted_s"`   // from the first proposal to the last commit
	Changes    int     `json:"changes"`     // committed
	Reverted   int     `json:"reverted"`    // of them
	IterationS float64 `json:"iteration_s"` // when all is settled

	simulate.Account
}

// run simulates a job by a policy. Without a number of iterations it measures the settled iteration only, and the job is over
// then; told is what the oracle knows.
func (s Setting) run(policy string, iterations int, mode adapt.Mode) (Job, error) {
	j := Job{Policy: policy, Iterations: iterations}
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return j, err
	}
	schedule, err := s.Schedule()
	if err != nil {
		return j, err
	}
	config := simulate.Config{Seed: s.Seed, Adapt: adapt.Config{Mode: mode, Policy: policy}}
	if policy == "oracle" {
		config.Adapt.Told = s.Told(schedule)
	}
	err = simulate.Run(spec, config, func(w *simulate.World) error {
		if err := w.Await("links that do not wait for traffic", func() bool { return quiet(w) }); err != nil {
			return err
		}
		app := w.Start(s.Order(), iterations, 0, schedule)
		began := w.Now()
		if iterations == 0 {
			j.IterationS, err = steady(w, app)
		} else if err = w.Pass(longest, app.Done); err == nil && !app.Done() {
			err = fmt.Errorf("the job did not end within %v", longest)
		}
		if err != nil {
			return err
		}
		j.Seconds = app.Took().Seconds()
		if err := j.look(w, began); err != nil {
			return err
		}
		j.Account, err = w.Account()
		return err
	})
	if err != nil {
		return j, fmt.Errorf("%s by %s: %w", s, policy, err)
	}
	return j, nil
}

// quiet tells whether the overlay is as its policy wants it.
func quiet(w *simulate.World) bool {
	ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
	return err == nil && ad.Adaptation.Proposal == nil && w.Since() > time.Second
}

// steady lets an application run until nothing changes, and measures an iteration.
func steady(w *simulate.World, app *simulate.App) (seconds float64, err error) {
	from := app.Iterations() + settled
	to := from + sampled
	if err := w.Pass(longest, func() bool { return app.Iterations() > to }); err != nil {
		return 0, err
	}
	return app.FinishedAt(to).Sub(app.FinishedAt(from)).Seconds() / sampled, nil
}

// look asks the Proxy what adaptation did.
func (j *Job) look(w *simulate.World, began time.Time) error {
	ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
	if err != nil {
		return err
	}
	j.Links = len(ad.Adaptation.Links)
	var first, last time.Time
	for _, c := range ad.Adaptation.History {
		at := c.Started.AsTime()
		if c.Outcome == "failed" || at.Before(began) {
			continue
		}
		j.Changes++
		if c.Outcome == "reverted" {
			j.Reverted++
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if end := at.Add(c.Total.AsDuration()); end.After(last) {
			last = end
		}
	}
	if !first.IsZero() {
		j.InferredS, j.AdaptedS = first.Sub(began).Seconds(), last.Sub(first).Seconds()
	}
	return nil
}

// Comparison is one setting by fastpath and by those it is compared with.
type Comparison struct {
	Setting    string  `json:"setting"`
	Edges      int     `json:"edges"`
	Star       float64 `json:"star_iteration_s"`
	Oracle     Job     `json:"oracle"`
	Mesh       Job     `json:"mesh"`
	Auto       Job     `json:"auto"`
	Ratio      float64 `json:"ratio_to_oracle"`
	ToMesh     float64 `json:"ratio_to_mesh"`
	Speedup    float64 `json:"speedup_total"` // star to auto, the same job
	FramesLost int64   `json:"frames_lost"`
	Duplicates int     `json:"duplicates"`

	onStar simulate.Account
}

// Compare runs a minute's job. What does not change while it runs (the star, the mesh, the oracle's links) is measured over a
// few iterations and multiplied.
func (s Setting) Compare(work time.Duration) (Comparison, error) {
	c := Comparison{Setting: s.String()}
	schedule, err := s.Schedule()
	if err != nil {
		return c, err
	}
	c.Edges = len(schedule.Edges())
	star, err := s.run("star", 0, adapt.Observe)
	if err != nil {
		return c, err
	}
	c.Star = star.IterationS
	for policy, job := range map[string]*Job{"oracle": &c.Oracle, "mesh": &c.Mesh} {
		if *job, err = s.run(policy, 0, adapt.Auto); err != nil {
			return c, err
		}
	}
	n := max(1, int(work.Seconds()/c.Oracle.IterationS))
	for _, job := range []*Job{&c.Oracle, &c.Mesh} {
		job.Iterations, job.Seconds = n, float64(n)*job.IterationS
	}
	if c.Auto, err = s.run("fastpath", n, adapt.Auto); err != nil {
		return c, err
	}
	c.Ratio, c.ToMesh = c.Auto.Seconds/c.Oracle.Seconds, c.Auto.Seconds/c.Mesh.Seconds
	c.Speedup = float64(n) * c.Star / c.Auto.Seconds
	c.onStar = star.Account
	all := c.Account()
	c.FramesLost, c.Duplicates = all.FramesLost+int64(all.Lost), all.Twice
	return c, nil
}

// Account is that of all runs together.
func (c Comparison) Account() simulate.Account {
	return c.onStar.Plus(c.Oracle.Account).Plus(c.Mesh.Account).Plus(c.Auto.Account)
}
