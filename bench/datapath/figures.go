package main

import (
	"context"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/bench/datapath/gauge"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/peers"
	"github.com/virtuoso-vnet/virtuoso/bench/datapath/report"
)

// pace is how long and how often things are measured.
type pace struct {
	stream  time.Duration // of TCP
	flood   time.Duration // one try at a rate of datagrams
	tries   int           // of rates
	asked   int           // requests
	pings   int           // under load, one every pingGap
	settled time.Duration // how long after the last frame a daemon is idle
	idle    time.Duration
	checked int64 // bytes of the stream that is compared at the start
}

const (
	// pingGap is short, so that some pings meet full queues and some do not.
	pingGap = 10 * time.Millisecond
	// slowStart is how long a stream may take until it fills the path.
	slowStart = 500 * time.Millisecond
	// lossBound is the share of datagrams that may be lost for a rate to count.
	lossBound = 0.005
	// small and large are UDP payloads: 64 bytes, and what makes an IP packet of 1,400 bytes, which no peer has to cut.
	small = 64
	large = 1400 - 28
	// perCall is how many datagrams the sender with UDP_SEGMENT gives the kernel at once.
	perCall = 44
)

// thorough takes about eighty seconds a round.
func thorough() pace {
	return pace{stream: time.Second, flood: 120 * time.Millisecond, tries: 5, asked: 3000, pings: 100, settled: 8 * time.Second, idle: time.Second, checked: 64 << 20}
}

// quick measures everything once in under a minute.
func quick() pace {
	return pace{stream: time.Second, flood: 60 * time.Millisecond, tries: 3, asked: 1500, pings: 40, settled: 1500 * time.Millisecond, idle: 300 * time.Millisecond, checked: 8 << 20}
}

// values are figures by their keys.
type values map[string]float64

// instrument is one thing that is done to a peer, and the figures that it yields.
type instrument struct {
	name    string
	figures []report.Figure
	read    func(ctx context.Context, r *peers.Running, p pace) (values, error)
}

func instruments() []instrument {
	return []instrument{
		{"tcp", []report.Figure{{Key: "tcp1", Title: "TCP 1 stream", Unit: "Gbit/s", Scale: 1e9}, {Key: "cpu", Title: "CPU", Unit: "s/GB", Less: true}}, readTCP},
		{"tcp4", []report.Figure{{Key: "tcp4", Title: "TCP 4 streams", Unit: "Gbit/s", Scale: 1e9}}, streams("tcp4", 4, false)},
		{"reverse", []report.Figure{{Key: "reverse", Title: "TCP reverse", Unit: "Gbit/s", Scale: 1e9}}, streams("reverse", 1, true)},
		{"udp64", []report.Figure{{Key: "udp64", Title: "64 B", Unit: "kpkt/s", Scale: 1e3}}, lossless("udp64", small, 1)},
		{"udp1400", []report.Figure{{Key: "udp1400", Title: "1,400 B", Unit: "kpkt/s", Scale: 1e3}}, lossless("udp1400", large, 1)},
		{"segment64", []report.Figure{{Key: "segment64", Title: "64 B, UDP_SEGMENT", Unit: "kpkt/s", Scale: 1e3}}, lossless("segment64", small, perCall)},
		{"rr", []report.Figure{{Key: "rr50", Title: "request p50", Unit: "µs", Scale: 1e3, Less: true}, {Key: "rr99", Title: "request p99", Unit: "µs", Scale: 1e3, Less: true}}, readResponses},
		{"ping", []report.Figure{{Key: "ping50", Title: "loaded ping p50", Unit: "ms", Scale: 1e6, Less: true}, {Key: "ping99", Title: "loaded ping p99", Unit: "ms", Scale: 1e6, Less: true}}, readLoadedPing},
		{"rest", []report.Figure{{Key: "rss", Title: "RSS", Unit: "MB", Scale: 1e6, Less: true}, {Key: "idle", Title: "idle", Unit: "% core", Scale: 0.01, Less: true}}, readRest},
	}
}

func readTCP(ctx context.Context, r *peers.Running, p pace) (values, error) {
	s, err := r.TCP(ctx, 1, false, p.stream)
	return values{"tcp1": s.Rate, "cpu": s.CPU}, err
}

func streams(key string, connections int, reverse bool) func(context.Context, *peers.Running, pace) (values, error) {
	return func(ctx context.Context, r *peers.Running, p pace) (values, error) {
		s, err := r.TCP(ctx, connections, reverse, p.stream)
		return values{key: s.Rate}, err
	}
}

func lossless(key string, payload, segments int) func(context.Context, *peers.Running, pace) (values, error) {
	return func(_ context.Context, r *peers.Running, p pace) (values, error) {
		rate, err := r.Lossless(gauge.Flood{Payload: payload, Segments: segments, Long: p.flood}, lossBound, p.tries)
		return values{key: rate}, err
	}
}

func readResponses(_ context.Context, r *peers.Running, p pace) (values, error) {
	took, err := r.Responses(p.asked)
	if err != nil {
		return nil, err
	}
	return values{"rr50": quantile(took, 0.5), "rr99": quantile(took, 0.99)}, nil
}

// readLoadedPing pings while one TCP stream takes all it can get.
func readLoadedPing(ctx context.Context, r *peers.Running, p pace) (values, error) {
	long := time.Duration(p.pings) * pingGap
	loaded := make(chan error, 1)
	go func() {
		_, err := r.TCP(ctx, 1, false, long+slowStart)
		loaded <- err
	}()
	time.Sleep(slowStart)
	took, err := r.Pings(ctx, r.A, r.AddrB, pingGap, p.pings)
	if other := <-loaded; err == nil {
		err = other
	}
	if err != nil {
		return nil, err
	}
	return values{"ping50": quantile(took, 0.5), "ping99": quantile(took, 0.99)}, nil
}

// readRest is what the larger, and the busier, of the daemons takes while nothing happens.
func readRest(_ context.Context, r *peers.Running, p pace) (values, error) {
	pids := r.PIDs()
	if len(pids) == 0 {
		return nil, nil
	}
	var most int64
	for _, pid := range pids {
		n, err := gauge.Resident(pid)
		if err != nil {
			return nil, err
		}
		most = max(most, n)
	}
	time.Sleep(time.Until(r.Used.Add(p.settled)))
	idle, err := gauge.Idle(pids, p.idle)
	return values{"rss": float64(most), "idle": idle}, err
}

// quantile is the value below which the share q of all lie, in nanoseconds.
func quantile(took []time.Duration, q float64) float64 {
	s := slices.Sorted(slices.Values(took))
	return float64(s[min(len(s)-1, int(q*float64(len(s))))])
}
