package e2e

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// fourAtASite are four hosts at one site, the Proxy at another.
const fourAtASite = `
name: four
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: host3, site: cloud}
  - {name: host4, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: vm1, host: host1}
  - {name: vm2, host: host2}
  - {name: vm3, host: host3}
  - {name: vm4, host: host4}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy}
`

const (
	// hoarded bounds what a hacked host keeps: enough for seconds, and well within a receiver's replay window.
	hoarded = 2000
	// spends is how often it sends one of them.
	spends = 2 * time.Millisecond
)

// hoard is the network of a hacked host: of its sealed frames it sends every other one at once and keeps the rest, which are as
// good as new whenever they are sent: nobody has seen their counters. From then on it sends them over and over, whatever it is
// told, from the sockets it has.
type hoard struct {
	link.Kernel
	mu    sync.Mutex // guards the following
	odd   bool
	spent bool // nothing is kept any more
	kept  []func()
}

func (h *hoard) ListenUDP(at netip.AddrPort, n int) ([]link.Socket, error) {
	group, err := h.Kernel.ListenUDP(at, n)
	for i, s := range group {
		group[i] = hoarding{s, h}
	}
	return group, err
}

type hoarding struct {
	link.Socket
	h *hoard
}

func (s hoarding) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	if len(buf) == 0 || buf[0] != 1 { // only frames (docs/protocol.md, L8)
		return s.Socket.WriteSegments(to, buf, seg)
	}
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.odd = !s.h.odd; s.h.odd && !s.h.spent {
		again := slices.Clone(buf)
		s.h.kept = append(s.h.kept, func() { s.Socket.WriteSegments(to, again, seg) })
		s.h.kept = s.h.kept[max(0, len(s.h.kept)-hoarded):]
		return nil
	}
	return s.Socket.WriteSegments(to, buf, seg)
}

// spend sends what was kept for ever.
func (h *hoard) spend() {
	h.mu.Lock()
	h.spent = true
	all := h.kept
	h.mu.Unlock()
	fmt.Println(len(all))
	for i := 0; len(all) > 0; i++ {
		all[i%len(all)]()
		time.Sleep(spends)
	}
}

// hackedHost: hacked-host --state DIRECTORY --port NAME: a daemon with the identity that lies there and the TAP queues in descriptors
// 3 and 4. At SIGUSR1 it begins to spend.
func hackedHost(args []string) int {
	fs := flag.NewFlagSet("hacked-host", flag.ContinueOnError)
	state := fs.String("state", "", "directory")
	name := fs.String("port", "", "name")
	if fs.Parse(args) != nil {
		return 2
	}
	complain := func(err error) int { fmt.Fprintln(os.Stderr, err); return 1 }
	id, err := pki.LoadIdentity(*state)
	if err != nil {
		return complain(err)
	}
	home, err := pki.LoadHome(*state)
	if err != nil {
		return complain(err)
	}
	db, err := store.Open(filepath.Join(*state, "state.db"))
	if err != nil {
		return complain(err)
	}
	defer db.Close()
	tap, err := port.TAPFromFDs(*name, []int{3, 4})
	if err != nil {
		return complain(err)
	}
	h := &hoard{}
	n, err := node.New(node.Config{
		Identity: id, Net: h, Listen: netip.AddrPortFrom(netip.IPv6Unspecified(), underlayPort), Ports: []port.Port{tap},
		Proxy: home.Addrs, ProxyName: home.Proxy, Store: db, Boot: uint64(time.Now().UnixMicro()),
	})
	if err != nil {
		return complain(err)
	}
	now := make(chan os.Signal, 1)
	signal.Notify(now, syscall.SIGUSR1)
	go func() { <-now; h.spend() }()
	if err := n.Run(context.Background()); err != nil {
		return complain(err)
	}
	return 0
}

// sees counts the frames with a mark that come to guests in a while.
func (w *world) sees(mark string, during time.Duration, vms ...string) map[string]int {
	w.Helper()
	var mu sync.Mutex
	found := map[string]int{}
	all(vms, func(vm string) {
		l := w.look(vm)
		time.Sleep(during)
		n := l.report().Marked[mark]
		mu.Lock()
		defer mu.Unlock()
		if n > 0 {
			found[vm] = n
		}
	})
	return found
}

// marks has a guest send marked frames to everybody and to each of the others, until the lab ends.
func (w *world) marks(vm, mark string, to ...string) {
	w.Helper()
	for _, mac := range append([]string{"ff:ff:ff:ff:ff:ff"}, to...) {
		w.spawn(vm, lab.CmdOptions{Name: "frame-send"}, lab.Self, "--to", mac, "--mark", mark, "--count", "1000000", "--every", "10ms")
	}
}

// When `vnet nodes revoke` has returned nothing that the revoked host sends arrives anywhere, though it was hacked and goes on
// sending frames that its links were made for. It stays so when all nodes are started anew, and without the Proxy. A node that was
// away is named, and learns from whom it meets.
func TestARevokedHostThatGoesOnSending(t *testing.T) {
	needs(t, "ping")
	w := start(t, fourAtASite)
	w.vnet("proxy", "adapt", "observe")
	w.warm([]string{"vm1", "vm2", "vm3", "vm4"})
	w.apply(w.vnet("proxy", "generate", "ring", "--live", "--rules", "all"), "a ring")
	if err := w.Kill("host2"); err != nil {
		t.Fatal(err)
	}
	said := &output{}
	hacked := w.spawn("host2", lab.CmdOptions{Name: "hacked-host", Files: w.TAPFiles("vm2"), Stdout: said, Stderr: said},
		lab.Self, "--state", "/var/lib/vnet/vnet", "--port", "vm2")
	w.eventually(20*time.Second, "the hacked host has its links", func() bool {
		return len(w.nodesUp()) == 5 && slices.Contains(w.linksUp("host1"), "host2") && slices.Contains(w.linksUp("host3"), "host2")
	})
	others := []string{"vm1", "vm3", "vm4"}
	w.marks("vm2", "bad", w.mac("vm1"), w.mac("vm3"), w.mac("vm4"))
	if got := w.sees("bad", time.Second, others...); len(got) != 3 {
		t.Fatalf("before it is revoked its frames arrive at %v only; it said %s", got, said.String())
	}

	for _, h := range []string{"host1", "host2", "host3", "proxy"} { // host4 misses it
		if err := w.Cut("host4", h); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually(10*time.Second, "host4 is away", func() bool { return len(w.nodesUp()) == 4 })
	began := time.Now()
	out := w.vnet("proxy", "nodes", "revoke", "host2")
	returned := time.Now()
	if !strings.Contains(out, "stored by 2: host1, host3") || !strings.Contains(out, "not by host4: it is away; it learns when it meets any node") {
		t.Errorf("revoking says\n%s", out)
	}
	if err := hacked.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	after := w.sees("bad", time.Second, others...)
	w.eventually(5*time.Second, "the hacked host sends what it kept", func() bool { return strings.TrimSpace(said.String()) != "" })
	t.Logf("revoked in %v; in the second after that %v of its frames arrived; it goes on sending %s that it kept", returned.Sub(began).Round(time.Millisecond), after, strings.TrimSpace(said.String()))
	time.Sleep(time.Until(returned.Add(5 * time.Second)))
	silent := func(when string) {
		t.Helper()
		if got := w.sees("bad", 1500*time.Millisecond, others...); len(got) > 0 {
			t.Errorf("%s: frames of the revoked host arrive: %v", when, got)
		}
	}
	silent("5 s after it was revoked")

	w.killed("proxy", "vm1")
	for _, h := range []string{"host1", "host2", "host3"} {
		if err := w.Heal("host4", h); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually(30*time.Second, "host4 learns without the Proxy", func() bool {
		return strings.Contains(w.vnet("host4", "nodes", "fingerprint"), "revoked")
	})
	silent("host4 has learnt from a host")
	all([]string{"host1", "host3", "host4"}, func(h string) {
		if err := w.Kill(h); err != nil {
			t.Error(err)
		}
		if err := w.Launch(h); err != nil {
			t.Error(err)
		}
	})
	w.eventually(30*time.Second, "the hosts have each other", func() bool {
		text, err := w.Vnet(w.Context(), "host4", "links", "-o", "json")
		return err == nil && strings.Count(text, "LINK_STATE_UP") >= 2
	})
	silent("all hosts have restarted, and the Proxy is dead")
	w.run("vm4", "ping", "-c", "1", "-w", "5", w.Address("vm1").String())
	if err := w.Heal("host4", "proxy"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartProxy(w.Context()); err != nil {
		t.Fatal(err)
	}
	w.eventually(backAgain, "all but it are back", func() bool { return len(w.nodesUp()) == 4 })
	silent("the Proxy is back")
	if got := w.nodesUp(); slices.Contains(got, "host2") {
		t.Errorf("at the Proxy are %v", got)
	}
	select {
	case <-hacked.Done():
		t.Errorf("the hacked host has given up: %s", said.String())
	default:
	}
}
