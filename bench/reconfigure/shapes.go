package main

import (
	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/workload"
)

// vm is a VM as the changes need it.
type vm struct{ Host, Port, MAC string }

// shape is a topology: links and rules beside the star.
type shape struct {
	name  string
	links []*vnetv1.LinkEdit
	rules []*vnetv1.RuleEdit
}

// star is nothing but the star.
func star() shape { return shape{name: "star"} }

// joined has a link and two rules for every pair that a pattern joins.
func joined(name, pattern string, vms []vm) (shape, error) {
	s := shape{name: name}
	schedule, err := workload.New(pattern, len(vms), workload.Options{})
	if err != nil {
		return s, err
	}
	for _, e := range schedule.Edges() {
		a, b := vms[e.A], vms[e.B]
		s.links = append(s.links, link(a, b))
		s.rules = append(s.rules, rule(a.Host, "port:"+a.Port, a, b, b.Host), rule(b.Host, "port:"+b.Port, b, a, a.Host))
	}
	return s, nil
}

// bus has a link between neighbours, and for every ordered pair of VMs at most reach apart a rule at each hop but the last:
// there the host knows its own VM.
func bus(name string, vms []vm, reach int) shape {
	s := shape{name: name}
	for i := range vms[1:] {
		s.links = append(s.links, link(vms[i], vms[i+1]))
	}
	for i, a := range vms {
		for j, b := range vms {
			step := 1
			if j < i {
				step = -1
			}
			if i == j || (j-i)*step > reach {
				continue
			}
			arrival := "port:" + a.Port
			for at := i; at != j; at += step {
				s.rules = append(s.rules, rule(vms[at].Host, arrival, a, b, vms[at+step].Host))
				arrival = "link:" + vms[at].Host
			}
		}
	}
	return s
}

func link(a, b vm) *vnetv1.LinkEdit { return &vnetv1.LinkEdit{A: a.Host, B: b.Host} }

func rule(at, arrival string, from, to vm, next string) *vnetv1.RuleEdit {
	return &vnetv1.RuleEdit{Node: at, Rule: &vnetv1.Rule{Arrival: arrival, Src: from.MAC, Dst: to.MAC, Out: "link:" + next}}
}
