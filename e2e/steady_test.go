package e2e

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A steady stream is numbered packets that one guest sends another for as long as a test runs, whatever happens meanwhile. Its
// report says between which moments packets were sent that never came.

const (
	// pausedFor: a sender that woke up so much too late says that the whole machine stood still. Links are held for dead after
	// 750 ms without a word; what the machine does to daemons in such a pause is not the overlay's doing.
	pausedFor = 300 * time.Millisecond
	// lateAt is for how long a receiver waits for what is under way once the sender has stopped. A daemon that comes back
	// delivers what its guests' queues kept.
	lateAt = 2 * time.Second
)

// hole is packets in a row that never came. All were sent after From and before To, in Unix ns: the times at which the last packet
// before them and the first one after them were sent.
type hole struct {
	From, To int64
	Count    int
}

// steadyReport is what either end knows at the end.
type steadyReport struct {
	Sent     int        `json:",omitempty"`
	LastSent int64      `json:",omitempty"`
	Stood    [][2]int64 `json:",omitempty"` // pauses of the machine, from and to

	Received, Twice int
	Highest         int
	HighestAt       int64  // when that was sent
	Holes           []hole `json:",omitempty"`
}

// steady: steady --to ADDR --rate N. It sends to one guest and listens to any other, until SIGTERM.
func steady(args []string) int {
	fs := flag.NewFlagSet("steady", flag.ContinueOnError)
	to := fs.String("to", "", "address")
	rate := fs.Int("rate", 50, "packets a second")
	if fs.Parse(args) != nil {
		return 2
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: streamPort})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	at, err := net.ResolveUDPAddr("udp", *to)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var r steadyReport
	var hearing sync.WaitGroup
	hearing.Go(func() { r.hear(conn) })
	fmt.Println("listening")
	sent, last, stood := flow(conn, at, *rate, stop)
	time.Sleep(lateAt)
	conn.Close()
	hearing.Wait()
	r.Sent, r.LastSent, r.Stood = sent, last, stood
	json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

// flow sends at an even rate until it is told to stop. What a pause made late is not made good: the numbers go on.
func flow(conn *net.UDPConn, to *net.UDPAddr, rate int, stop <-chan os.Signal) (sent int, last int64, stood [][2]int64) {
	every := time.Second / time.Duration(rate)
	packet := make([]byte, 64)
	for woke := time.Now(); ; {
		now := time.Now()
		if now.Sub(woke) > every+pausedFor {
			stood = append(stood, [2]int64{woke.UnixNano(), now.UnixNano()})
		}
		woke = now
		binary.BigEndian.PutUint64(packet, uint64(sent))
		binary.BigEndian.PutUint64(packet[8:], uint64(now.UnixNano()))
		if _, err := conn.WriteToUDP(packet, to); err == nil { // this end's own queue is full: what was not sent is not lost
			sent, last = sent+1, now.UnixNano()
		}
		select {
		case <-stop:
			return sent, last, stood
		case <-time.After(every):
		}
	}
}

// hear counts what comes until the socket is closed.
func (r *steadyReport) hear(conn *net.UDPConn) {
	var at []int64 // when each was sent; 0: it has not come
	buf := make([]byte, 2048)
	r.Highest = -1
	for {
		n, err := conn.Read(buf)
		if err != nil {
			break
		}
		number, sent := int(binary.BigEndian.Uint64(buf)), int64(binary.BigEndian.Uint64(buf[8:]))
		if n < 64 || number > 1<<24 {
			continue
		}
		for len(at) <= number {
			at = append(at, 0)
		}
		if at[number] != 0 {
			r.Twice++
			continue
		}
		at[number] = sent
		r.Received++
		if number > r.Highest {
			r.Highest, r.HighestAt = number, sent
		}
	}
	var before int64
	missing := 0
	for _, sent := range at {
		if sent == 0 {
			missing++
			continue
		}
		if missing > 0 {
			r.Holes = append(r.Holes, hole{before, sent, missing})
		}
		before, missing = sent, 0
	}
}

// steadyPeer is one guest's program under way.
type steadyPeer struct {
	vm, to string
	proc   *lab.Proc
	said   *output
}

// steady has one guest send to another, and hear whoever sends to it. The guests know each other's hardware addresses: how long
// ARP asks in vain is not the overlay's matter.
func (w *world) steady(vm, to string, rate int) *steadyPeer {
	w.Helper()
	w.run(vm, "ip", "neigh", "replace", w.Address(to).String(), "lladdr", w.mac(to), "dev", "eth0", "nud", "permanent")
	p := &steadyPeer{vm: vm, to: to, said: &output{}}
	p.proc = w.spawn(vm, lab.CmdOptions{Name: "steady", Stdout: p.said}, lab.Self, "--to", fmt.Sprintf("%s:%d", w.Address(to), streamPort), "--rate", fmt.Sprint(rate))
	w.eventually(5*time.Second, "the stream's receiver listens", func() bool { return p.said.String() != "" })
	return p
}

// stop ends all of them at once and reports.
func (w *world) stopSteady(all []*steadyPeer) map[string]steadyReport {
	w.Helper()
	for _, p := range all {
		p.proc.Signal(syscall.SIGTERM)
	}
	reports := map[string]steadyReport{}
	for _, p := range all {
		<-p.proc.Done()
		var r steadyReport
		if err := json.Unmarshal([]byte(p.said.String()[len("listening\n"):]), &r); err != nil {
			w.Fatalf("%s said %q: %v", p.vm, p.said.String(), err)
		}
		reports[p.vm] = r
	}
	return reports
}
