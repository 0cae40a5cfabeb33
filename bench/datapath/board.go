package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/report"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// board is the peers that run, and what was read of them. One goroutine owns it.
type board struct {
	pace    pace
	result  *report.Result
	running map[string]*peers.Running
	err     error // corruption, and failures of our own: those of others are rows that were not run
}

// setUp starts a peer; one that cannot be had is told as such.
func (b *board) setUp(ctx context.Context, s *stage.Stage, p peers.Peer, programs peers.Programs, lacking map[string]error, nr int) {
	row := report.System{Name: p.Name}
	err := ctx.Err()
	for _, need := range p.Needs {
		err = errors.Join(err, lacking[need])
	}
	var r *peers.Running
	if err == nil {
		r, err = p.Start(ctx, s, programs, nr)
	}
	if err == nil {
		row.What = r.What
		row.Checked, err = r.Check(uint64(nr), b.pace.checked)
	}
	switch {
	case err == nil:
		b.running[p.Name] = r
	case p.Kind == peers.Userspace:
		row.NotRun = err.Error()
	default:
		b.fail(p.Name, err)
		row.NotRun = err.Error()
	}
	b.result.Systems = append(b.result.Systems, row)
}

func (b *board) fail(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	b.err = errors.Join(b.err, fmt.Errorf("%s: %w", name, err))
}

// read measures one thing of one peer.
func (b *board) read(ctx context.Context, t instrument, name string, round int) {
	r := b.running[name]
	if r == nil || ctx.Err() != nil {
		return
	}
	got, err := t.read(ctx, r, b.pace)
	r.Used = time.Now()
	if err != nil {
		b.fail(name, fmt.Errorf("%s: %w", t.name, err))
		return
	}
	for _, f := range t.figures {
		if v, ok := got[f.Key]; ok {
			b.result.Samples = append(b.result.Samples, report.Sample{System: name, Figure: f.Key, Round: round, Value: v})
		}
	}
}
