// Package trials repeats the paper's experiments on adaptation in the simulator: which environments and applications there are,
// what is measured of them, and the tables and pictures of it.
//
// How a run is simulated is package simulate's. The same scenarios in the lab, with the built program and real TCP, are
// package cells'.
package trials

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/experiments"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// Environment is one of the paper's (§4.2).
type Environment struct {
	Name  string // of the scenario files, with the number of VMs behind it
	Title string
	// Bytes of each exchange: the demonstration's, but where the wires are slower, so that an iteration over the best links
	// stays below half a second.
	Bytes int64
}

// Environments are all of them.
func Environments() []Environment {
	return []Environment{
		{"cluster", "single cluster", 250_000},
		{"adjacent", "two adjacent clusters, 10 Mbit/s between", 25_000},
		{"metro", "two clusters on a metropolitan network", 250_000},
		{"wide", "wide area of five sites", 150_000},
	}
}

// EnvironmentNamed finds one.
func EnvironmentNamed(name string) (Environment, error) {
	var names []string
	for _, e := range Environments() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Environment{}, fmt.Errorf("unknown environment %q: choose one of %s", name, strings.Join(names, ", "))
}

// Spec reads the scenario with so many VMs, 4 or 8.
func (e Environment) Spec(vms int) (*lab.Spec, error) {
	file := fmt.Sprintf("%s%d.yaml", e.Name, vms)
	data, err := experiments.Files.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("there is no scenario with %d VMs: %w", vms, err)
	}
	return lab.Parse(data, "experiments/"+file)
}

// Setting is one application in one environment.
type Setting struct {
	Environment Environment
	VMs         int
	Pattern     string
	Seed        uint64 // of the order of the VMs, and of the random pattern
}

// String names the setting: "cluster8/alltoall".
func (s Setting) String() string { return fmt.Sprintf("%s%d/%s", s.Environment.Name, s.VMs, s.Pattern) }

// Schedule is what the application does.
func (s Setting) Schedule() (*workload.Schedule, error) {
	return workload.New(s.Pattern, s.VMs, workload.Options{Bytes: s.Environment.Bytes, Seed: s.Seed})
}

// Order deals the application's ranks out to the VMs: the i-th is where rank i runs.
func (s Setting) Order() []int { return rand.New(rand.NewPCG(s.Seed, 1)).Perm(s.VMs) }

// Told are the pairs of VMs that will talk, as the oracle is told them.
func (s Setting) Told(schedule *workload.Schedule) string {
	var pairs []string
	order := s.Order()
	for _, e := range schedule.Edges() {
		a, b := order[e.A]+1, order[e.B]+1 // of VM i, at host i
		pairs = append(pairs, fmt.Sprintf("host%d/vm%d=host%d/vm%d", a, a, b, b))
	}
	return strings.Join(pairs, ",")
}

// Patterns are those that exist for so many VMs.
func Patterns(vms int) (names []string) {
	for _, name := range workload.Names() {
		if workload.Fits(name, vms) {
			names = append(names, name)
		}
	}
	return names
}
