package demo

import (
	"context"
	"strconv"
	"time"
)

// quiet is how long the wires get to empty and the links to tell each other their totals (every 250 ms).
const quiet = 1500 * time.Millisecond

// tally are the counters as protobuf's JSON has them: 64-bit numbers are text.
type tally struct {
	EdgeIn, Copies, Cuts, EdgeOut, WireLost, Duplicates string
	Drops                                               []struct{ Frames string }
}

// account closes the books: what entered must have left, been dropped for a reason, or been lost by the wires.
func (d *Demo) account(ctx context.Context) error {
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
		return ctx.Err()
	}
	var counters struct{ Total tally }
	if err := d.ask(ctx, &counters, "counters", "--all"); err != nil {
		return err
	}
	t := counters.Total
	out := number(t.EdgeOut) + number(t.WireLost)
	for _, drop := range t.Drops {
		out += number(drop.Frames)
	}
	d.result.FramesLost = number(t.EdgeIn) + number(t.Copies) + number(t.Cuts) - out
	d.result.WireLost = uint64(number(t.WireLost))
	d.result.Duplicates = uint64(number(t.Duplicates))
	return nil
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0 // absent: protobuf leaves zeros out
	}
	return n
}
