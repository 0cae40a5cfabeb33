package gauge

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/stage"
)

// iperfPort is where iperf3's server listens; every measurement has its own server, which ends with it.
const iperfPort = "5201"

// serverTime is how long a server may take until it listens, and a client longer than its test.
const serverTime = 5 * time.Second

// Stream is what TCP carried.
type Stream struct {
	Rate    float64 // bit/s, as the receiver saw it
	CPU     float64 // seconds of the whole machine's processors a GB (10⁹ bytes)
	Resent  int
	Seconds float64
}

// TCP sends on some connections at once from A to B, or from B to A, with cubic: what iperf3 does, for whole seconds.
func (g Between) TCP(ctx context.Context, connections int, reverse bool, long time.Duration) (Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, long+2*serverTime)
	defer cancel()
	server, err := g.Stage.Start(g.B, "iperf3", nil, "iperf3", "-s", "-1", "-p", iperfPort)
	if err != nil {
		return Stream{}, err
	}
	defer server.Stop()
	if err := stage.Await(ctx, serverTime, func() error { return g.listens(ctx) }); err != nil {
		return Stream{}, err
	}
	argv := []string{"iperf3", "-c", g.AddrB.String(), "-p", iperfPort, "-J", "-C", "cubic",
		"-t", fmt.Sprint(int(math.Ceil(long.Seconds()))), "-P", fmt.Sprint(connections)}
	if reverse {
		argv = append(argv, "-R")
	}
	before, err := Busy()
	if err != nil {
		return Stream{}, err
	}
	text, err := g.Stage.Run(ctx, g.A, argv...)
	if err != nil {
		return Stream{}, err
	}
	after, err := Busy()
	if err != nil {
		return Stream{}, err
	}
	return parseStream([]byte(text), after-before)
}

// listens tells whether the server does, without connecting to it: that would be its only client.
func (g Between) listens(ctx context.Context) error {
	text, err := g.Stage.Run(ctx, g.B, "ss", "-Hltn", "sport = :"+iperfPort)
	if err == nil && text == "" {
		err = fmt.Errorf("cannot measure TCP: iperf3 does not listen")
	}
	return err
}

func parseStream(text []byte, busy float64) (Stream, error) {
	var out struct {
		Error string
		End   struct {
			Sent     struct{ Retransmits int }        `json:"sum_sent"`
			Received struct{ Bytes, Seconds float64 } `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return Stream{}, fmt.Errorf("cannot read what iperf3 says: %w", err)
	}
	r := out.End.Received
	if out.Error != "" || r.Bytes == 0 || r.Seconds == 0 {
		return Stream{}, fmt.Errorf("cannot measure TCP: iperf3 received nothing: %s", out.Error)
	}
	return Stream{Rate: r.Bytes * 8 / r.Seconds, CPU: busy / (r.Bytes / 1e9), Resent: out.End.Sent.Retransmits, Seconds: r.Seconds}, nil
}
