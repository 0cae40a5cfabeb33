package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A talk is one TCP connection that stays open through everything a test does: numbered questions, each answered with its
// number before the next is asked. It knows how long it stood still.

const (
	talkPort = 7778
	// talkEvery is between two questions: fine enough to see a pause of 100 ms.
	talkEvery = 10 * time.Millisecond
)

// talkReport is what the asking side prints at SIGUSR1, about the time since the last report.
type talkReport struct {
	Answered int     `json:"answered"`
	Longest  float64 `json:"longest_ms"` // time between two answers, one that has not come yet included
	Broken   string  `json:"broken,omitempty"`
}

// serveTalk: talk-serve. It answers whoever connects, until it is killed.
func serveTalk([]string) int {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: talkPort})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listening")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return 1
		}
		go io.Copy(conn, conn)
	}
}

// talkTo: talk ADDRESS.
func talkTo(args []string) int {
	conn, err := net.DialTimeout("tcp", args[0], 10*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	t := talker{last: time.Now()}
	go t.ask(conn)
	report := make(chan os.Signal, 1)
	signal.Notify(report, syscall.SIGUSR1)
	fmt.Println("{}") // connected
	for range report {
		json.NewEncoder(os.Stdout).Encode(t.report(time.Now()))
	}
	return 0
}

type talker struct {
	mu      sync.Mutex // guards the following
	now     talkReport
	longest time.Duration
	last    time.Time // answer
}

func (t *talker) ask(conn net.Conn) {
	var question, answer [8]byte
	for n := uint64(0); ; n++ {
		binary.BigEndian.PutUint64(question[:], n)
		_, err := conn.Write(question[:])
		if err == nil {
			_, err = io.ReadFull(conn, answer[:])
		}
		if err == nil && answer != question {
			err = fmt.Errorf("asked %x and was answered %x", question, answer)
		}
		t.mu.Lock()
		if err != nil {
			t.now.Broken = err.Error()
			t.mu.Unlock()
			return
		}
		t.longest = max(t.longest, time.Since(t.last))
		t.last = time.Now()
		t.now.Answered++
		t.mu.Unlock()
		time.Sleep(talkEvery)
	}
}

func (t *talker) report(now time.Time) talkReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.now
	r.Longest = float64(max(t.longest, now.Sub(t.last)).Microseconds()) / 1000
	t.now, t.longest = talkReport{Broken: t.now.Broken}, 0
	return r
}

// talk is a talk under way.
type talk struct {
	w    *world
	asks *lab.Proc
	said *output
}

// talk opens a connection between two VMs.
func (w *world) talk(from, to string) *talk {
	w.Helper()
	ready, t := &output{}, &talk{w: w, said: &output{}}
	w.spawn(to, lab.CmdOptions{Name: "talk-serve", Stdout: ready}, lab.Self)
	w.eventually(5*time.Second, "the talk's server listens", func() bool { return ready.String() != "" })
	t.asks = w.spawn(from, lab.CmdOptions{Name: "talk", Stdout: t.said}, lab.Self, fmt.Sprintf("%s:%d", w.Address(to), talkPort))
	w.eventually(10*time.Second, "the talk is open", func() bool { return t.said.String() != "" })
	return t
}

// report is what happened since the last report. The test fails when the connection broke.
func (t *talk) report() (r talkReport) {
	t.w.Helper()
	before := strings.Count(t.said.String(), "\n")
	t.asks.Signal(syscall.SIGUSR1)
	t.w.eventually(5*time.Second, "the talk reports", func() bool { return strings.Count(t.said.String(), "\n") > before })
	lines := strings.Split(strings.TrimSpace(t.said.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.w.Fatalf("the talk said %q: %v", lines[len(lines)-1], err)
	}
	if r.Broken != "" {
		t.w.Fatalf("the connection from %s broke: %s", t.asks.In, r.Broken)
	}
	return r
}

// resumes waits until questions are answered again.
func (t *talk) resumes(within time.Duration, after string) {
	t.w.Helper()
	t.report()
	t.w.eventually(within, "a TCP connection continues after "+after, func() bool { return t.report().Answered > 0 })
}
