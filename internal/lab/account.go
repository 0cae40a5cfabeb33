package lab

import (
	"context"
	"encoding/json"
	"fmt"
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

// Account is what became of the overlay's frames.
type Account struct {
	FramesLost int64  // by conservation: in at the edges, not out, not dropped for a reason, not lost by a wire
	WireLost   uint64 // full queues of the emulated wires dropped this many
	Duplicates uint64
}

// Account closes the books: what entered must have left, been dropped for a reason, or been lost by the wires.
func (d *Daemons) Account(ctx context.Context) (Account, error) {
	select {
	case <-time.After(quiet):
	case <-ctx.Done():
		return Account{}, ctx.Err()
	}
	text, err := d.Vnet(ctx, d.lab.spec.Overlay.Proxy, "counters", "--all", "-o", "json")
	if err != nil {
		return Account{}, err
	}
	var counters struct{ Total tally }
	if err := json.Unmarshal([]byte(text), &counters); err != nil {
		return Account{}, fmt.Errorf("cannot read the counters: %w", err)
	}
	t := counters.Total
	out := number(t.EdgeOut) + number(t.WireLost)
	for _, drop := range t.Drops {
		out += number(drop.Frames)
	}
	return Account{
		FramesLost: number(t.EdgeIn) + number(t.Copies) + number(t.Cuts) - out,
		WireLost:   uint64(number(t.WireLost)), Duplicates: uint64(number(t.Duplicates)),
	}, nil
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0 // absent: protobuf leaves zeros out
	}
	return n
}
