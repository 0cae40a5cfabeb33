package e2e

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A numbered stream is UDP packets that carry their number and the time they were sent. The receiver knows which were
// lost, which came twice, which came late, and for how long nothing came.

const streamPort = 7777

// streamReport is what the receiver prints when it is told to stop (SIGTERM).
type streamReport struct {
	Received   int     `json:"received"`
	Highest    int     `json:"highest"`    // number of the last packet sent that arrived
	Lost       []int   `json:"lost"`       // numbers below Highest that never came, at most 1,000
	LostCount  int     `json:"lost_count"` //
	Duplicates int     `json:"duplicates"`
	Reordered  int     `json:"reordered"` // came after a higher number
	LongestGap float64 `json:"gap_ms"`    // longest time without any packet
	MaxDelay   float64 `json:"max_ms"`    // longest way of a packet; sender and receiver share the machine's clock

	// When, in Unix ns, at most 20,000 of each: what was lost, by the time its successor was sent; what came late or twice.
	LostAt      []int64 `json:"lost_at,omitempty"`
	ReorderedAt []int64 `json:"reordered_at,omitempty"`
	DuplicateAt []int64 `json:"duplicate_at,omitempty"`
}

// eventsKept bounds the times in a report: far more than a run that can still pass has.
const eventsKept = 20000

func keepTime(list []int64, at int64) []int64 {
	if len(list) >= eventsKept {
		return list
	}
	return append(list, at)
}

// sendStream: stream-send --to ADDR --rate N [--bytes N] [--count N]. It sends until SIGTERM, then prints how many it sent.
func sendStream(args []string) int {
	fs := flag.NewFlagSet("stream-send", flag.ContinueOnError)
	to := fs.String("to", "", "address")
	rate := fs.Int("rate", 1000, "packets a second")
	size := fs.Int("bytes", 64, "payload of a packet")
	count := fs.Int("count", 0, "stop after so many")
	if fs.Parse(args) != nil {
		return 2
	}
	conn, err := net.Dial("udp", *to)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	packet := make([]byte, max(*size, 16))
	began := time.Now()
	n := 0
	for *count == 0 || n < *count {
		// What is due is sent: a late wake-up is made good, so that the rate holds on a busy machine.
		for due := int(time.Since(began).Seconds() * float64(*rate)); n < due && (*count == 0 || n < *count); n++ {
			binary.BigEndian.PutUint64(packet, uint64(n))
			binary.BigEndian.PutUint64(packet[8:], uint64(time.Now().UnixNano()))
			conn.Write(packet) // a full queue is the network's loss, to be seen by the receiver
		}
		select {
		case <-stop:
			fmt.Println(n)
			return 0
		case <-time.After(time.Second / time.Duration(*rate)):
		}
	}
	fmt.Println(n)
	return 0
}

// receiveStream: stream-receive. It prints a streamReport at SIGTERM.
func receiveStream([]string) int {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: streamPort})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	conn.SetReadBuffer(4 << 20)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	var wait sync.WaitGroup
	var r streamReport
	wait.Go(func() { r = count(conn) })
	fmt.Println("listening")
	<-stop
	conn.Close()
	wait.Wait()
	json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

func count(conn *net.UDPConn) (r streamReport) {
	seen := map[int]int64{} // when each was sent
	buf := make([]byte, 65536)
	var last time.Time
	r.Highest = -1
	for {
		n, err := conn.Read(buf)
		if err != nil {
			break
		}
		if n < 16 {
			continue
		}
		now := time.Now()
		number := int(binary.BigEndian.Uint64(buf))
		sent := time.Unix(0, int64(binary.BigEndian.Uint64(buf[8:])))
		r.MaxDelay = max(r.MaxDelay, float64(now.Sub(sent).Microseconds())/1000)
		if !last.IsZero() {
			r.LongestGap = max(r.LongestGap, float64(now.Sub(last).Microseconds())/1000)
		}
		last = now
		if _, twice := seen[number]; twice {
			r.Duplicates++
			r.DuplicateAt = keepTime(r.DuplicateAt, now.UnixNano())
			continue
		}
		if number < r.Highest {
			r.Reordered++
			r.ReorderedAt = keepTime(r.ReorderedAt, now.UnixNano())
		}
		seen[number] = sent.UnixNano()
		r.Received++
		r.Highest = max(r.Highest, number)
	}
	r.missing(seen)
	return r
}

// missing finds what never came, and when it was sent.
func (r *streamReport) missing(seen map[int]int64) {
	next := int64(0)
	for i := r.Highest; i >= 0; i-- {
		if at, came := seen[i]; came {
			next = at
			continue
		}
		r.LostCount++
		r.LostAt = keepTime(r.LostAt, next)
		if len(r.Lost) < 1000 {
			r.Lost = append(r.Lost, i)
		}
	}
	slices.Reverse(r.Lost)
	slices.Reverse(r.LostAt)
}

// stream is a numbered stream under way.
type stream struct {
	w              *world
	send, receive  *lab.Proc
	sent, reported *output
}

// output keeps what a program in the lab prints.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// stream starts a numbered stream between two VMs; args are for its sender.
func (w *world) stream(from, to string, rate int, args ...string) *stream {
	w.Helper()
	s := &stream{w: w, sent: &output{}, reported: &output{}}
	s.receive = w.spawn(to, lab.CmdOptions{Name: "stream-receive", Stdout: s.reported}, lab.Self)
	w.eventually(5*time.Second, "the stream's receiver listens", func() bool { return len(s.reported.String()) > 0 })
	args = append([]string{lab.Self, "--to", fmt.Sprintf("%s:%d", w.Address(to), streamPort), "--rate", fmt.Sprint(rate)}, args...)
	s.send = w.spawn(from, lab.CmdOptions{Name: "stream-send", Stdout: s.sent}, args...)
	return s
}

// stop ends the stream, waits for what is under way, and reports.
func (s *stream) stop() (sent int, r streamReport) {
	s.w.Helper()
	s.send.Signal(syscall.SIGTERM)
	<-s.send.Done()
	time.Sleep(time.Second)
	s.receive.Signal(syscall.SIGTERM)
	<-s.receive.Done()
	if _, err := fmt.Sscan(s.sent.String(), &sent); err != nil {
		s.w.Fatalf("the stream's sender said %q: %v", s.sent.String(), err)
	}
	text := s.reported.String()
	if err := json.Unmarshal([]byte(text[len("listening\n"):]), &r); err != nil {
		s.w.Fatalf("the stream's receiver said %q: %v", text, err)
	}
	if missing := sent - 1 - r.Highest; missing > 0 { // the tail that never came
		r.LostCount += missing
	}
	return sent, r
}
