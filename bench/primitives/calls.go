package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/bench"
)

const (
	callsRole    = "bench-calls"
	commandsRole = "bench-commands"
	// callsARound is how often each call is made in a round, and commandsARound each command: a call is too quick to judge by few.
	callsARound    = 40
	commandsARound = 10
	// callAim and commandAim are in milliseconds; commandPaper is what each primitive took in the paper, client included.
	callAim      = 1
	commandAim   = 20
	commandPaper = 20
)

// order is what a role is to do.
type order struct {
	Lab    string
	Load   string // in words, beside what is measured
	At     string // where the role runs
	Hosts  []string
	Rounds int
}

// rows collects values by what they are of.
type rows []bench.Row

func (r *rows) add(like bench.Row, value float64) {
	i := slices.IndexFunc(*r, func(o bench.Row) bool { return o.What == like.What })
	if i < 0 {
		i = len(*r)
		*r = append(*r, like)
	}
	(*r)[i].Values = append((*r)[i].Values, value)
}

// measureCalls is the role: calls of the daemon beside it, on one connection.
func measureCalls(ctx context.Context, o order) ([]bench.Row, error) {
	daemon := bench.Client()
	var out rows
	measure := func(what string, aim float64, call func() error) error {
		took, err := bench.Time(call)
		out.add(bench.Row{Lab: o.Lab, What: fmt.Sprintf("API at %s: %s", o.At, what), Aim: aim}, took)
		return err
	}
	peer := map[bool]string{true: o.Hosts[1], false: "proxy"}[o.At == "proxy"] // a link the daemon surely has
	changeAim := map[bool]float64{true: callAim}[o.At == "proxy"]              // elsewhere the wire decides
	for i := range o.Rounds * callsARound {
		if i%callsARound == 0 {
			bench.Quiet()
		}
		err := measure("list rules", callAim, func() error {
			_, err := daemon.ListRules(ctx, &vnetv1.ListRulesRequest{})
			return err
		})
		if err != nil {
			return nil, err
		}
		if i%5 != 0 {
			continue
		}
		var added *vnetv1.AddRuleResponse
		err = measure("add rule", changeAim, func() (err error) {
			added, err = daemon.AddRule(ctx, &vnetv1.AddRuleRequest{Rule: &vnetv1.Rule{Src: "any", Dst: "02:00:5e:00:00:01", Out: "link:" + peer}})
			return err
		})
		if err != nil {
			return nil, err
		}
		err = measure("delete rule", changeAim, func() error {
			_, err := daemon.DeleteRule(ctx, &vnetv1.DeleteRuleRequest{Id: added.GetRule().GetId()})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// measureCommands is the role: the program as a user types it, from its start to its end.
func measureCommands(ctx context.Context, o order) ([]bench.Row, error) {
	program := os.NewFile(3, "vnet")
	vnet := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "/proc/self/fd/3", args...)
		cmd.ExtraFiles = []*os.File{program}
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("vnet %v: %w: %s", args, err, text)
		}
		return nil
	}
	daemon := bench.Client()
	peer := map[bool]string{true: o.Hosts[1], false: "proxy"}[o.At == "proxy"]
	var out rows
	for i := range o.Rounds * commandsARound {
		if i%commandsARound == 0 {
			bench.Quiet()
		}
		for _, c := range []struct {
			what string
			args []string
		}{
			{"vnet rules", []string{"rules"}},
			{"vnet rule add", []string{"rule", "add", "--src", "any", "--dst", "02:00:5e:00:00:02", "--to", "link:" + peer}},
		} {
			took, err := bench.Time(func() error { return vnet(c.args...) })
			if err != nil {
				return nil, err
			}
			out.add(bench.Row{Lab: o.Lab, What: fmt.Sprintf("command at %s: %s", o.At, c.what), Aim: commandAim, Paper: commandPaper}, took)
		}
		if err := forget(ctx, daemon, "02:00:5e:00:00:02"); err != nil {
			return nil, err
		}
	}
	return out, nil
}
