package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

const movingVM = `
name: moving
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: host3, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: here, host: host1}
  - {name: there, host: host2}
  - {name: other, host: host3}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy}
`

const (
	moveRate = 1000 // packets a second
	// announcedCost is what a move may cost beyond the time the guest was asleep: its announcement's way to the Proxy and
	// the word's way to the hosts (three times 2.5 ms here), with room for a busy machine.
	announcedCost = 250 * time.Millisecond
	// quietCost is the same without an announcement: the old place must be quiet for 1 s, claims are repeated each half
	// second, and a guest that waits for an answer to its ARP request sends no more than that, once a second.
	quietCost = 2500 * time.Millisecond
)

// twin makes "there" the sleeping twin of "here".
func (w *world) twin() {
	w.Helper()
	w.run("there", "ip", "link", "set", "eth0", "down")
	w.run("there", "ip", "link", "set", "eth0", "address", w.mac("here"))
	w.run("there", "ip", "addr", "flush", "dev", "eth0")
	w.run("there", "ip", "addr", "add", w.Address("here").String()+"/16", "dev", "eth0")
}

// moved counts the moves of a MAC in the Proxy's events.
func moved(events *output) int { return strings.Count(events.String(), `"vm.moved"`) }

func (w *world) events() *output {
	w.Helper()
	said := &output{}
	w.spawn("proxy", lab.CmdOptions{Name: "vnet", Stdout: said}, program, "events", "-o", "json")
	return said
}

// A VM that moves between hosts under a numbered stream loses what is sent while it sleeps, and little more.
func TestAVMMoves(t *testing.T) {
	apart, moves := 3*time.Second, 2
	if os.Getenv("E2E_LONG") != "" {
		apart, moves = 20*time.Second, 6
	}
	w := start(t, movingVM)
	w.twin()
	guests := []*guestProc{w.guest("here", "other"), w.guest("there", "other")}
	send := w.spawn("other", lab.CmdOptions{Name: "stream-send", Stdout: &output{}}, lab.Self,
		"--to", fmt.Sprintf("%s:%d", w.Address("here"), streamPort), "--rate", fmt.Sprint(moveRate))
	w.eventually(15*time.Second, "a fast path to the VM", func() bool {
		return slices.Contains(ask[adaptation](w, "proxy", "adapt", "status").links(), "host1–host3")
	})
	at := 0
	move := func(how syscall.Signal) {
		guests[at].proc.Signal(syscall.SIGUSR2)
		at = 1 - at
		guests[at].proc.Signal(how)
		time.Sleep(apart)
	}
	for range moves {
		move(syscall.SIGUSR1)
	}
	move(syscall.SIGHUP)
	send.Signal(syscall.SIGTERM)
	<-send.Done()
	time.Sleep(500 * time.Millisecond)
	reports := []guestReport{guests[0].end(), guests[1].end()}
	gaps := missing(reports)
	if d := reports[0].Duplicates + reports[1].Duplicates; d > 0 || overlap(reports) > 0 {
		t.Errorf("%d packets came twice, %d at both places", d, overlap(reports))
	}
	w.movesCost(reports, gaps, moves)
}

// movesCost compares what was lost with how long the guest slept, move by move.
func (w *world) movesCost(reports []guestReport, gaps [][2]int, announced int) {
	w.Helper()
	if len(gaps) > announced+1 {
		w.Errorf("packets were lost %d times in %d moves: %v", len(gaps), announced+1, gaps)
	}
	for i := range announced + 1 {
		from, to := reports[i%2], reports[(i+1)%2]
		asleep := time.Duration(to.Woke[i/2] - from.Slept[i/2])
		lost := 0
		if i < len(gaps) {
			lost = gaps[i][1] - gaps[i][0] + 1
		}
		cost, limit, how := time.Duration(lost)*time.Second/moveRate-asleep, announcedCost, "announced"
		if i == announced {
			limit, how = quietCost, "quiet"
		}
		w.Logf("move %d, %s: %d of %d packets a second lost; the guest was asleep for %v, so the overlay's part is %v",
			i+1, how, lost, moveRate, asleep.Round(100*time.Microsecond), cost.Round(time.Millisecond))
		if cost > limit {
			w.Errorf("move %d cost %v beyond the sleep, want at most %v", i+1, cost, limit)
		}
	}
}

// numbers are the packets that came to any place.
func numbers(reports []guestReport) map[int]int {
	seen := map[int]int{}
	for _, r := range reports {
		for _, run := range r.Received {
			for n := run[0]; n <= run[1]; n++ {
				seen[n]++
			}
		}
	}
	return seen
}

// missing are the runs of numbers that came nowhere.
func missing(reports []guestReport) (gaps [][2]int) {
	seen, top := numbers(reports), 0
	for n := range seen {
		top = max(top, n)
	}
	for n, inGap := 0, false; n <= top; n++ {
		switch {
		case seen[n] > 0:
			inGap = false
		case inGap:
			gaps[len(gaps)-1][1] = n
		default:
			gaps, inGap = append(gaps, [2]int{n, n}), true
		}
	}
	return gaps
}

func overlap(reports []guestReport) (both int) {
	for _, times := range numbers(reports) {
		if times > 1 {
			both++
		}
	}
	return both
}

// Two guests that claim one MAC are reported, and the MAC does not flap.
func TestTwoGuestsClaimOneMAC(t *testing.T) {
	patient(t)
	w := start(t, movingVM)
	w.twin()
	events := w.events()
	guests := []*guestProc{w.guest("here", "other"), w.guest("there", "other")}
	time.Sleep(500 * time.Millisecond)
	guests[1].proc.Signal(syscall.SIGHUP) // awake, and so is the first
	mac := w.mac("here")
	w.eventually(5*time.Second, "the Proxy warns of a MAC claimed twice", func() bool {
		return slices.ContainsFunc(w.warnings("proxy"), func(s string) bool { return strings.Contains(s, mac) })
	})
	if n := moved(events); n > 0 {
		t.Errorf("the MAC moved %d times while its first guest sent all the time", n)
	}
	if !strings.Contains(events.String(), "vm.conflict") {
		t.Errorf("no event tells of the conflict: %s", events)
	}
	for range 10 { // each says again and again that it has come
		for _, g := range guests {
			g.proc.Signal(syscall.SIGUSR1)
			time.Sleep(50 * time.Millisecond)
		}
	}
	w.eventually(5*time.Second, "the MAC is frozen", func() bool { return strings.Contains(events.String(), "vm.frozen") })
	time.Sleep(time.Second)
	n := moved(events)
	t.Logf("the MAC moved %d times before it was frozen; the Proxy warns: %q", n, w.warnings("proxy"))
	if n > 6 {
		t.Errorf("the MAC moved %d times", n)
	}
}
