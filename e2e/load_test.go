package e2e

import (
	"fmt"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// load is traffic between two VMs, watched: iperf3 at 50 Mbit/s, and a numbered stream each way.
type load struct {
	w                *world
	server, client   *lab.Proc
	sender, receiver *watch
	there, back      *stream
	result           loadReport
}

// loadReport is what became of it.
type loadReport struct {
	sent             [2]int
	streams          [2]streamReport
	sender, receiver []tcpSample
}

func (w *world) load(from, to string) *load {
	w.Helper()
	l := &load{w: w}
	w.run(from, "ping", "-c", "1", "-W", "2", w.Address(to).String())
	l.server = w.spawn(to, lab.CmdOptions{}, "iperf3", "-s", "-1")
	time.Sleep(200 * time.Millisecond) // until it listens: it says nothing of it when its output is no terminal
	// The kernel paces what iperf3 gives it: a sender that a busy machine has held up makes up for it without a burst.
	l.client = w.spawn(from, lab.CmdOptions{}, "iperf3", "-c", w.Address(to).String(), "-b", "50M", "--fq-rate", "55M", "-t", "900")
	l.there, l.back = w.stream(from, to, 1000), w.stream(to, from, 1000)
	time.Sleep(500 * time.Millisecond) // the connection has left its slow start
	l.sender, l.receiver = w.watch(from, 20*time.Millisecond), w.watch(to, 10*time.Millisecond)
	return l
}

func (l *load) stop() {
	l.w.Helper()
	r := &l.result
	r.sender, r.receiver = l.sender.stop(), l.receiver.stop()
	l.client.Signal(syscall.SIGTERM)
	r.sent[0], r.streams[0] = l.there.stop()
	r.sent[1], r.streams[1] = l.back.stop()
	l.client.Stop(time.Second)
	l.server.Stop(time.Second)
}

func (l *load) report() loadReport { return l.result }

// rate is what TCP carried, in bit/s.
func (r loadReport) rate() float64 {
	if len(r.receiver) < 2 {
		return 0
	}
	first, last := r.receiver[0], r.receiver[len(r.receiver)-1]
	return float64(last.Received-first.Received) * 8e9 / float64(last.At-first.At)
}

func (r loadReport) summary() string {
	all := span{0, 1 << 62}
	if len(r.receiver) == 0 || len(r.sender) == 0 {
		return "TCP was never seen"
	}
	return fmt.Sprintf("%d packets there and %d back; TCP at %.1f Mbit/s, longest standstill %v, %d segments sent again, %d of them needlessly",
		r.sent[0], r.sent[1], r.rate()/1e6, standstill(r.receiver, all), r.sender[len(r.sender)-1].Retrans, r.sender[len(r.sender)-1].Spurious)
}

// table says what each kind of change cost: sums over the changes of the kind, but the longest standstill.
func (r loadReport) table(changes []timed) []string {
	lines := []string{fmt.Sprintf("%-50s %5s %8s %5s %5s %9s %9s %8s %9s %10s",
		"kind of change", "times", "took", "lost", "twice", "reordered", "resent", "needless", "misplaced", "standstill")}
	done := map[string]bool{}
	for _, first := range changes {
		if done[first.kind] {
			continue
		}
		done[first.kind] = true
		var times, lost, twice, reordered int
		var resent, needless, misplaced uint32
		var took, still time.Duration
		for _, c := range changes {
			if c.kind != first.kind {
				continue
			}
			times++
			took = max(took, c.took)
			still = max(still, standstill(r.receiver, c.span))
			for _, s := range r.streams {
				lost += c.span.count(s.LostAt)
				twice += c.span.count(s.DuplicateAt)
				reordered += c.span.count(s.ReorderedAt)
			}
			d := difference(r.sender, c.span)
			resent, needless = resent+d.Retrans, needless+d.Spurious
			misplaced += difference(r.receiver, c.span).Misplaced
		}
		lines = append(lines, fmt.Sprintf("%-50s %5d %8v %5d %5d %9d %9d %8d %9d %10v",
			first.kind, times, took.Round(time.Millisecond), lost, twice, reordered, resent, needless, misplaced, still.Round(time.Millisecond)))
	}
	return lines
}
