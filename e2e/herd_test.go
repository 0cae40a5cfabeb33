package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/api/vnet/v1/vnetv1connect"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

var herdSize = flag.Int("herd", 200, "nodes that restart at once")

// herdMemory bounds the Proxy's memory in MiB, whatever its hosts do at once: docs/performance.md has what it took.
const herdMemory = 256

// sayings is how often a word is said at most in a round, until all have heard it.
const sayings = 4

// herd is many nodes in this process, over loopback, and the program's own Proxy in a process by itself.
type herd struct {
	*testing.T
	dir    string
	listen string
	proxy  *exec.Cmd
	said   output // by the Proxy
	api    vnetv1connect.DaemonClient
	hosts  []*herdHost
}

// herdHost is one node: its disk and its guest outlive its daemon.
type herdHost struct {
	id   *pki.Identity
	mac  ether.MAC
	disk *store.Store
	home string

	net    *darkNet
	far    port.Port
	node   *node.Node
	cancel context.CancelFunc
	ended  sync.WaitGroup
	got    [4 * sayings]atomic.Int32 // words, by their number
}

// darkNet is the network of a machine that may lose its power: nobody hears from it any more.
type darkNet struct {
	link.Kernel
	dark atomic.Bool
}

func (d *darkNet) ListenUDP(at netip.AddrPort, n int) ([]link.Socket, error) {
	group, err := d.Kernel.ListenUDP(at, n)
	for i, s := range group {
		group[i] = darkSocket{s, d}
	}
	return group, err
}

type darkSocket struct {
	link.Socket
	d *darkNet
}

func (s darkSocket) WriteSegments(to netip.AddrPort, buf []byte, seg int) error {
	if s.d.dark.Load() {
		return nil
	}
	return s.Socket.WriteSegments(to, buf, seg)
}

// Two hundred nodes restart in the same instant, first without the Proxy, then with it. All are back, what guests send arrives
// once, the overlay is as it should be, and the Proxy's memory stays below its bound.
func TestTwoHundredNodesRestartAtOnce(t *testing.T) {
	h := &herd{T: t, dir: t.TempDir()}
	t.Cleanup(h.end)
	h.found()
	h.tell("all started at once", h.restart(nil))
	h.tell("all restarted at once", h.restart(h.powerCut))
	h.everybodyHears(1)
	h.tell("all restarted at once, the Proxy too", h.restart(func() {
		h.powerCut()
		h.proxy.Process.Kill()
		h.proxy.Wait()
		h.startProxy()
	}))
	h.everybodyHears(2)
	h.inOrder()
}

// found starts a Proxy, and makes the machines.
func (h *herd) found() {
	h.Helper()
	probe, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		h.Fatal(err)
	}
	h.listen = probe.LocalAddr().String()
	probe.Close()
	h.startProxy()
	ca, err := pki.LoadCA(filepath.Join(h.dir, "state"))
	if err != nil {
		h.Fatal(err)
	}
	for i := range *herdSize {
		id, err := ca.Issue(fmt.Sprintf("h%d", i), pki.RoleHost, time.Now(), time.Hour)
		if err != nil {
			h.Fatal(err)
		}
		h.hosts = append(h.hosts, &herdHost{id: id, mac: ether.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}, disk: store.Memory(), home: h.listen})
	}
}

func (h *herd) startProxy() {
	h.Helper()
	socket := filepath.Join(h.dir, "api.sock")
	h.proxy = exec.Command(program, "proxy", "--name", "proxy", "--state", filepath.Join(h.dir, "state"), "--listen", h.listen, "--socket", socket)
	h.proxy.Stderr = &h.said
	if err := h.proxy.Start(); err != nil {
		h.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	h.api = vnetv1connect.NewDaemonClient(&http.Client{Transport: &http.Transport{DialContext: dial}}, "http://vnet")
	h.await("the Proxy answers", 20*time.Second, func() bool {
		_, err := h.api.GetStatus(h.Context(), &vnetv1.GetStatusRequest{})
		return err == nil
	})
}

func (h *herd) end() {
	for _, one := range h.hosts {
		one.stop()
	}
	if h.proxy != nil && h.proxy.ProcessState == nil {
		h.proxy.Process.Kill()
		h.proxy.Wait()
	}
}

func (h *herd) await(what string, within time.Duration, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("%s: not within %v", what, within)
		}
	}
}

// powerCut ends all nodes without a word to anybody.
func (h *herd) powerCut() {
	for _, one := range h.hosts {
		one.net.dark.Store(true)
	}
	all(h.hosts, (*herdHost).stop)
}

func (o *herdHost) stop() {
	if o.cancel != nil {
		o.cancel()
		o.far.Close()
		o.ended.Wait()
		o.cancel = nil
	}
}

// start starts a node.
func (o *herdHost) start() error {
	near, far := port.Pipe("vm", "vm")
	o.net, o.far = &darkNet{}, far
	var err error
	o.node, err = node.New(node.Config{
		Identity: o.id, Net: o.net, Listen: netip.MustParseAddrPort("127.0.0.1:0"), Ports: []port.Port{near},
		Proxy: []string{o.home}, ProxyName: "proxy", Store: o.disk, Boot: uint64(time.Now().UnixMicro()),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	o.ended.Go(func() { o.node.Run(ctx) })
	o.ended.Go(func() {
		for batch := port.NewBatch(64); far.Read(0, batch) == nil; {
			for _, p := range batch.Packets {
				if f := p.Frame; f.EtherType() == markType && f.Dst() == o.mac {
					o.got[f[14]].Add(1)
				}
			}
		}
	})
	return nil
}

// send has the node's guest send a word with a number.
func (o *herdHost) send(to ether.MAC, number int) {
	f := make(ether.Frame, 60)
	copy(f, to[:])
	copy(f[6:], o.mac[:])
	binary.BigEndian.PutUint16(f[12:], markType)
	f[14] = byte(number)
	o.far.Write(0, []ether.Packet{{Frame: f}})
}

// recovery is what a restart took.
type recovery struct {
	all, half time.Duration // until all, and half of the nodes were there
	peak, now int           // MiB of memory of the Proxy's process, at most and at the end
	cpu       time.Duration // of the Proxy
}

func (h *herd) tell(what string, r recovery) {
	h.Helper()
	h.Logf("%d nodes: %s: half are there after %v, all after %v; the Proxy took at most %d MiB of memory (%d MiB at the end) and %v of a processor",
		len(h.hosts), what, r.half.Round(10*time.Millisecond), r.all.Round(10*time.Millisecond), r.peak, r.now, r.cpu.Round(10*time.Millisecond))
	if r.peak > herdMemory {
		h.Errorf("%s: the Proxy took %d MiB; its bound is %d", what, r.peak, herdMemory)
	}
}

// restart has fail happen, starts all nodes in the same instant and waits until the Proxy has all of them as they are now.
func (h *herd) restart(fail func()) (r recovery) {
	h.Helper()
	if fail != nil {
		fail()
	}
	before := h.cpu()
	began := time.Now()
	all(h.hosts, func(o *herdHost) {
		if err := o.start(); err != nil {
			h.Error(err)
		}
	})
	h.await("all nodes are back", 2*time.Minute, func() bool {
		there := h.there(began)
		if there >= len(h.hosts)/2 && r.half == 0 {
			r.half = time.Since(began)
		}
		return there == len(h.hosts)
	})
	r.all = time.Since(began)
	r.cpu = h.cpu() - before
	memory := h.memory()
	r.peak, r.now = memory["VmHWM"]>>10, memory["VmRSS"]>>10
	return r
}

// there is how many nodes the Proxy has a link to that were started since.
func (h *herd) there(since time.Time) (n int) {
	resp, err := h.api.ListNodes(h.Context(), &vnetv1.ListNodesRequest{})
	if err != nil {
		return 0
	}
	for _, one := range resp.GetNodes() {
		var boot int64
		fmt.Sscan(one.GetBootId(), &boot)
		if one.GetState() == vnetv1.NodeState_NODE_STATE_UP && one.GetName() != "proxy" && boot >= since.UnixMicro() {
			n++
		}
	}
	return n
}

// memory is what the kernel says of the Proxy's, in KiB.
func (h *herd) memory() map[string]int {
	found := map[string]int{}
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", h.proxy.Process.Pid))
	if err != nil {
		h.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		var kib int
		if n, _ := fmt.Sscan(rest, &kib); n == 1 {
			found[name] = kib
		}
	}
	return found
}

// cpu is what the Proxy has used of processors.
func (h *herd) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.proxy.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	fmt.Sscan(fields[11], &user) // utime and stime, in ticks of 10 ms (proc(5))
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// everybodyHears has each guest say hello to all, and a word to its neighbour, which comes once. A word of which nothing is
// heard is said again: on a machine that is too busy links die of silence, with what is on them. Then the Proxy or a
// counter has to say so.
func (h *herd) everybodyHears(round int) {
	h.Helper()
	first, before := round*sayings, len(h.said.String())
	for _, o := range h.hosts { // not all at once: each goes to all others
		o.send(ether.MAC{255, 255, 255, 255, 255, 255}, first)
		time.Sleep(5 * time.Millisecond)
	}
	h.await("all guests are known", 20*time.Second, func() bool {
		resp, err := h.api.ListNodes(h.Context(), &vnetv1.ListNodesRequest{})
		vms := 0
		for _, one := range resp.GetNodes() {
			vms += len(one.GetVms())
		}
		return err == nil && vms == len(h.hosts)
	})
	time.Sleep(time.Second) // until all nodes have been told
	waiting := h.hosts
	for number := first; number < first+sayings && len(waiting) > 0; number++ {
		if number > first {
			h.account(waiting, h.said.String()[before:])
		}
		waiting = h.say(waiting, number)
	}
	if len(waiting) > 0 {
		h.Fatalf("round %d: %d guests hear nothing", round, len(waiting))
	}
	time.Sleep(500 * time.Millisecond) // for what would come twice
	for _, o := range h.hosts {
		for number := first; number < first+sayings; number++ {
			if n := o.got[number].Load(); n > 1 {
				h.Errorf("round %d: %s got word %d %d times", round, o.id.Name, number-first, n)
			}
		}
	}
}

// say has the neighbours of some guests say a word to them, and returns those who did not hear it.
func (h *herd) say(to []*herdHost, number int) (deaf []*herdHost) {
	for i, o := range h.hosts {
		if next := h.hosts[(i+1)%len(h.hosts)]; slices.Contains(to, next) {
			o.send(next.mac, number)
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		deaf = nil
		for _, o := range to {
			if o.got[number].Load() == 0 {
				deaf = append(deaf, o)
			}
		}
		if len(deaf) == 0 || time.Now().After(end) {
			return deaf
		}
	}
}

// account checks that of words which some did not hear the Proxy's lines or the counters of a node on their way say why.
func (h *herd) account(deaf []*herdHost, said string) {
	proxy, err := h.api.GetCounters(h.Context(), &vnetv1.GetCountersRequest{})
	lost := func(c *vnetv1.GetCountersResponse, err error) bool {
		return err != nil || len(c.GetTotal().GetDrops()) > 0 || c.GetTotal().GetWireLost() > 0
	}
	for i, o := range h.hosts {
		next := h.hosts[(i+1)%len(h.hosts)]
		if !slices.Contains(deaf, next) {
			continue
		}
		why := lost(proxy, err)
		for _, end := range []*herdHost{o, next} {
			c, err := end.node.GetCounters(h.Context(), nil)
			why = why || lost(c, err) || strings.Contains(said, "link to "+end.id.Name+" is down")
			h.Log(c.GetNodes(), err)
		}
		h.Logf("%s did not hear %s", next.id.Name, o.id.Name)
		if !why {
			h.Errorf("nobody says where %s's word to %s was lost; the Proxy: %v", o.id.Name, next.id.Name, proxy.GetNodes())
		}
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "link.down") {
			h.Log("the Proxy: ", strings.TrimSpace(line))
		}
	}
}

// inOrder checks what has to be so in the end.
func (h *herd) inOrder() {
	h.Helper()
	var resp *vnetv1.GetOverlayResponse
	h.await("the overlay is as the Proxy's record says", 20*time.Second, func() (ok bool) {
		var err error
		resp, err = h.api.GetOverlay(h.Context(), &vnetv1.GetOverlayRequest{Compare: true})
		return err == nil && len(resp.GetOverlay().GetDifferences())+len(resp.GetOverlay().GetSilent()) == 0
	})
	counters, err := h.api.GetCounters(h.Context(), &vnetv1.GetCountersRequest{})
	if err != nil || counters.GetTotal().GetHopLimitHits() > 0 || counters.GetTotal().GetDuplicates() > 0 {
		h.Errorf("counters: %v, %v", counters.GetTotal(), err)
	}
}
