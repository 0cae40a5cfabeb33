package trials

import (
	"encoding/csv"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/virtuoso-vnet/virtuoso/internal/lab/figures"
	"github.com/virtuoso-vnet/virtuoso/internal/lab/simulate"
)

// Report is what an experiment came to: a table beside the paper's numbers, and pictures.
type Report struct {
	Name    string           `json:"name"`
	Title   string           `json:"title"`
	Seed    uint64           `json:"seed"` // of the dice
	Head    []string         `json:"head"`
	Rows    [][]string       `json:"rows"`
	Notes   []string         `json:"notes"`
	Account simulate.Account `json:"account"`
	Data    any              `json:"data"` // all numbers, unrounded

	Pictures map[string]func(io.Writer) error `json:"-"` // by the file's name
}

// Options of every experiment.
type Options struct {
	Seed  uint64
	Quick bool // fewer points, seconds of the machine's time
}

// Experiment is one that can be asked for by name.
type Experiment struct {
	Name  string
	Short string
	Run   func(Options) (Report, error)
}

// Experiments are all that run in the simulator.
func Experiments() []Experiment {
	return []Experiment{
		{"fig8", "A ring application, its matrix, and the overlay that grows into a ring", Figure8},
		{"fig9", "How long the set-up of a topology takes", Figure9},
		{"fig10", "Inference, adaptation and running time of all patterns", Figure10},
		{"fig11", "All-to-all of eight VMs in one cluster, by the number of fast paths", Figure11},
		{"fig12", "A bus over two clusters on a metropolitan network, by the number of fast paths", Figure12},
		{"fig13", "All-to-all over a wide area, by the number of fast paths", Figure13},
		{"damping", "An application that alternates between two topologies, ever slower", Damping},
		{"grid", "All patterns in all environments: running time by fast paths, against oracle and mesh", Grid},
	}
}

// Table writes the report for people.
func (r Report) Table(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s (seed %d)\n\n", r.Name, r.Title, r.Seed)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(r.Head, "\t"))
	for _, row := range r.Rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	a := r.Account
	_, err := fmt.Fprintf(w, "frames_lost %d, duplicates %d; of %d numbered probes %d were lost\n", a.FramesLost, a.Twice, a.Probes, a.Lost)
	return err
}

// CSV writes the table for programs.
func (r Report) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.WriteAll(append([][]string{r.Head}, r.Rows...)); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

// draw adds a figure to the pictures.
func (r *Report) draw(f figures.Figure) { r.picture(f.Name, f.SVG) }

func (r *Report) picture(name string, svg func(io.Writer) error) {
	if r.Pictures == nil {
		r.Pictures = map[string]func(io.Writer) error{}
	}
	r.Pictures[name+".svg"] = svg
}

// each runs f for every number below n, as many at a time as there are processors, and returns the first error.
func each(n int, f func(i int) error) error {
	var group sync.WaitGroup
	errs, turn := make([]error, n), make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range n {
		turn <- struct{}{}
		group.Go(func() {
			errs[i] = f(i)
			<-turn
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func seconds(s float64) string {
	switch {
	case s >= 100:
		return fmt.Sprintf("%.0f", s)
	case s >= 1:
		return fmt.Sprintf("%.2f", s)
	}
	return fmt.Sprintf("%.4f", s)
}
