package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A watch reads, many times a second, what the kernel says of a VM's busiest TCP connection (sock_diag, as ss does). So the
// program that is watched stays as it is.

// tcpSample is the state of a connection at one moment.
type tcpSample struct {
	At        int64  `json:"at"`        // Unix ns
	Received  uint64 `json:"received"`  // bytes, in order
	Acked     uint64 `json:"acked"`     // bytes sent that the peer has
	Retrans   uint32 `json:"retrans"`   // segments sent again, ever
	Spurious  uint32 `json:"spurious"`  // of them, the peer had this many already
	Misplaced uint32 `json:"misplaced"` // segments that came out of order
}

// watchTCP: tcp-watch [--every DURATION]. It prints its samples at SIGTERM.
func watchTCP(args []string) int {
	fs := flag.NewFlagSet("tcp-watch", flag.ContinueOnError)
	every := fs.Duration("every", 10*time.Millisecond, "between samples")
	if fs.Parse(args) != nil {
		return 2
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	var samples []tcpSample
	tick := time.NewTicker(*every)
	defer tick.Stop()
	fmt.Println("watching")
	for {
		select {
		case <-stop:
			json.NewEncoder(os.Stdout).Encode(samples)
			return 0
		case <-tick.C:
		}
		if one, ok := busiestTCP(); ok {
			samples = append(samples, one)
		}
	}
}

// busiestTCP is the connection that has carried most.
func busiestTCP() (busiest tcpSample, found bool) {
	var list []*netlink.InetDiagTCPInfoResp
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} { // iperf3's server takes both by one socket
		some, _ := netlink.SocketDiagTCPInfo(family) // an error is an interruption: the next sample will do
		list = append(list, some...)
	}
	now := time.Now().UnixNano()
	for _, c := range list {
		i := c.TCPInfo
		if i == nil || found && i.Bytes_received+i.Bytes_acked <= busiest.Received+busiest.Acked {
			continue
		}
		found = true
		busiest = tcpSample{At: now, Received: i.Bytes_received, Acked: i.Bytes_acked,
			Retrans: i.Total_retrans, Spurious: i.Dsack_dups, Misplaced: i.Rcv_ooopack}
	}
	return busiest, found
}

// watch is a watch under way.
type watch struct {
	w    *world
	proc *lab.Proc
	said *output
}

func (w *world) watch(vm string, every time.Duration) *watch {
	w.Helper()
	one := &watch{w: w, said: &output{}}
	one.proc = w.spawn(vm, lab.CmdOptions{Name: "tcp-watch", Stdout: one.said}, lab.Self, "--every", every.String())
	w.eventually(5*time.Second, "the watch has begun", func() bool { return len(one.said.String()) > 0 })
	return one
}

func (o *watch) stop() (samples []tcpSample) {
	o.w.Helper()
	o.proc.Signal(syscall.SIGTERM)
	<-o.proc.Done()
	text := o.said.String()
	if err := json.Unmarshal([]byte(text[len("watching\n"):]), &samples); err != nil {
		o.w.Fatalf("the watch said %q: %v", text, err)
	}
	return samples
}

// span is from when to when, in Unix ns.
type span struct{ from, to int64 }

func (s span) has(at int64) bool { return at >= s.from && at < s.to }

func (s span) count(times []int64) (n int) {
	for _, at := range times {
		if s.has(at) {
			n++
		}
	}
	return n
}

// sampleLate is the most that one interval between samples may say about standing still: where the watch itself was kept
// from running, so was all else on this machine.
const sampleLate = 30 * time.Millisecond

// standstill is the longest time within the span in which no byte came in order.
func standstill(samples []tcpSample, within span) time.Duration {
	var longest, still time.Duration
	for i := 1; i < len(samples); i++ {
		if !within.has(samples[i].At) {
			continue
		}
		if samples[i].Received != samples[i-1].Received {
			still = 0
			continue
		}
		still += min(sampleLate, time.Duration(samples[i].At-samples[i-1].At))
		longest = max(longest, still)
	}
	return longest
}

// difference is what happened within the span.
func difference(samples []tcpSample, within span) (d tcpSample) {
	var first, last *tcpSample
	for i := range samples {
		if samples[i].At < within.from {
			first = &samples[i]
		}
		if samples[i].At < within.to {
			last = &samples[i]
		}
	}
	if first == nil || last == nil {
		return d
	}
	return tcpSample{At: last.At - first.At, Received: last.Received - first.Received, Acked: last.Acked - first.Acked,
		Retrans: last.Retrans - first.Retrans, Spurious: last.Spurious - first.Spurious, Misplaced: last.Misplaced - first.Misplaced}
}
