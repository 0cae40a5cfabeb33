package trials

import (
	"context"
	"fmt"
	"strconv"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

// Setup is how long a topology takes among eight daemons that have nothing else to do.
type Setup struct {
	Topology string  `json:"topology"`
	Links    int     `json:"links"`
	Seconds  float64 `json:"seconds"` // from the request until every source has flipped; the star: from the start of the daemons
}

// Figure9 is the set-up of topologies. In virtual time a processor costs nothing: what is left are round trips, and the lab
// (make bench-reconfigure) has the rest.
func Figure9(o Options) (Report, error) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		return Report{}, err
	}
	paper := map[string]string{"star": "0.94", "alltoall": "1.6", "bus": "3.23"}
	r := Report{
		Name: "fig9", Title: "set-up of a topology among eight daemons, single cluster", Seed: o.Seed,
		Head: []string{"topology", "links", "seconds", "paper, s"},
		Notes: []string{
			"Round trips alone; make bench-reconfigure measures the same with the built program and its processors' time.",
			"The paper's bus has a rule at every hop for every pair; here neighbours have rules, and the rest goes by the star.",
		},
	}
	var all []Setup
	for _, pattern := range []string{"bus", "ring", "hypercube", "alltoall"} {
		s := Setting{Environment: e, VMs: 8, Pattern: pattern, Seed: o.Seed}
		star, one, account, err := s.setup()
		if err != nil {
			return r, err
		}
		if len(all) == 0 {
			all = append(all, star)
		}
		all = append(all, one)
		r.Account = r.Account.Plus(account)
	}
	for _, s := range all {
		r.Rows = append(r.Rows, []string{s.Topology, fmt.Sprint(s.Links), seconds(s.Seconds), paper[s.Topology]})
	}
	r.Data = all
	f := figures.Bars{Name: r.Name, Title: "Figure 9: set-up of a topology among eight daemons", Series: []string{"here, ms", "paper, s"}}
	for _, s := range all {
		row := figures.BarRow{Label: s.Topology, Values: []float64{s.Seconds, -1}, Texts: []string{fmt.Sprintf("%.0f ms", 1000*s.Seconds), ""}}
		if was, err := strconv.ParseFloat(paper[s.Topology], 64); err == nil {
			row.Values[1], row.Texts[1] = was, paper[s.Topology]+" s"
		}
		f.Rows = append(f.Rows, row)
	}
	r.picture(f.Name, f.SVG)
	return r, nil
}

// setup measures the star and, beyond it, the pattern's links.
func (s Setting) setup() (star, own Setup, account simulate.Account, err error) {
	spec, err := s.Environment.Spec(s.VMs)
	if err != nil {
		return star, own, account, err
	}
	schedule, err := s.Schedule()
	if err != nil {
		return star, own, account, err
	}
	config := simulate.Config{Seed: s.Seed, Adapt: adapt.Config{Mode: adapt.Observe}}
	err = simulate.Run(spec, config, func(w *simulate.World) error {
		star = Setup{Topology: "star", Links: s.VMs, Seconds: w.Starred().Seconds()}
		if err := w.Pass(3*time.Second, nil); err != nil {
			return err
		}
		policy, told := "oracle", s.Told(schedule)
		_, err := w.Service().SetAdaptation(context.Background(), &vnetv1.SetAdaptationRequest{
			Mode: vnetv1.AdaptationMode_ADAPTATION_MODE_AUTO, Policy: &policy, Told: &told,
		})
		if err != nil {
			return err
		}
		own = Setup{Topology: s.Pattern, Links: len(schedule.Edges())}
		err = w.Await("the change", func() bool {
			ad, err := w.Service().GetAdaptation(context.Background(), &vnetv1.GetAdaptationRequest{})
			if err != nil || len(ad.Adaptation.History) == 0 || len(ad.Adaptation.Links) != own.Links {
				return false
			}
			own.Seconds = ad.Adaptation.History[0].Total.AsDuration().Seconds()
			return true
		})
		if err != nil {
			return err
		}
		account, err = w.Account()
		return err
	})
	return star, own, account, err
}

// Figure10 is how long inference and adaptation take, and the job.
func Figure10(o Options) (Report, error) {
	e, err := EnvironmentNamed("cluster")
	if err != nil {
		return Report{}, err
	}
	r := Report{
		Name: "fig10", Title: "inference, adaptation and running time, eight VMs in a single cluster", Seed: o.Seed,
		Head:  []string{"pattern", "edges", "inference, s", "adaptation, s", "running time, s", "on the star, s", "speed-up"},
		Notes: []string{"Paper: inference about 60 s with conservative settings (1 s at best, §2.2), adaptation about 2 s. The job is a minute by the oracle."},
	}
	patterns, work := Patterns(8), Work
	if o.Quick {
		patterns, work = []string{"alltoall", "bus", "hypercube", "ring"}, Work/6
	}
	all := make([]Comparison, len(patterns))
	err = each(len(patterns), func(i int) (err error) {
		all[i], err = Setting{Environment: e, VMs: 8, Pattern: patterns[i], Seed: o.Seed}.Compare(work)
		return err
	})
	if err != nil {
		return r, err
	}
	for i, c := range all {
		r.Account = r.Account.Plus(c.Account())
		r.Rows = append(r.Rows, []string{
			patterns[i], fmt.Sprint(c.Edges), fmt.Sprintf("%.2f", c.Auto.InferredS), fmt.Sprintf("%.2f", c.Auto.AdaptedS),
			seconds(c.Auto.Seconds), seconds(c.Star * float64(c.Auto.Iterations)), fmt.Sprintf("%.2f", c.Speedup),
		})
	}
	f := figures.Bars{Name: r.Name, Title: "Figure 10: running time, eight VMs in a single cluster", Series: []string{"adapted", "on the star"}}
	for i, c := range all {
		star := c.Star * float64(c.Auto.Iterations)
		f.Rows = append(f.Rows, figures.BarRow{
			Label: patterns[i], Values: []float64{c.Auto.Seconds, star}, Texts: []string{seconds(c.Auto.Seconds) + " s", seconds(star) + " s"},
		})
	}
	r.picture(f.Name, f.SVG)
	r.Data = all
	return r, nil
}
