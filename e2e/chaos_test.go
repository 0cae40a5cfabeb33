package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// `make chaos` sets both; a plain `go test` lives through every kind of fault once, as far as the time suffices.
var (
	chaosFor  = flag.Duration("chaos", 40*time.Second, "how long faults go on")
	chaosSeed = flag.Uint64("seed", 1, "of the dice that choose them")
)

const (
	// settles: what a fault undid may be missing for this long after the last link it took stands again: a packet that was
	// under way, and what the clock of a busy machine differs by between the daemons' word and the guests'.
	settles = 500 * time.Millisecond
	// underWay: what was sent so shortly before a fault may not have come through when it struck.
	underWay = 100 * time.Millisecond
	// calm is how long nothing happens between two faults: packets of all streams go through untouched.
	calm = time.Second
	// backWithin bounds the return of all hosts to the Proxy: the longest back-off of 10 s, a dial of 8 s that was begun before the
	// path was there again, and a busy machine.
	backWithin = 30 * time.Second
	// chaosRate is the packets a second of each stream.
	chaosRate = 50
)

// chaosLab: four hosts at either of two sites, the Proxy at a third. State directories lie on a small disk each.
func chaosLab() string {
	var b strings.Builder
	b.WriteString("name: chaos\nsites: [{name: east}, {name: west}, {name: home}]\nhosts:\n  - {name: proxy, site: home}\n")
	vms := "vms:\n"
	for i := range 8 {
		site := "east"
		if i >= 4 {
			site = "west"
		}
		fmt.Fprintf(&b, "  - {name: host%d, site: %s}\n", i+1, site)
		vms += fmt.Sprintf("  - {name: v%d, host: host%d}\n", i+1, i+1)
	}
	return b.String() + vms + `paths:
  - {between: [east, west], delay: 4ms}
  - {between: [east, home], delay: 3ms}
  - {between: [west, home], delay: 2ms}
overlay: {proxy: proxy}
`
}

// chaosFile is what the user wants: direct paths for five of the eight pairs of a ring. The other three go by the star, or as
// adaptation thinks best.
func chaosFile(w *world) string {
	var b strings.Builder
	b.WriteString("vnet 1\n" + vmLines(w, chaosVMs()...))
	for _, i := range chaosDirect() {
		a, c := i+1, i+2
		fmt.Fprintf(&b, "link host%d host%d\n", a, c)
		fmt.Fprintf(&b, "rule host%d from port:v%d src v%d dst v%d to link:host%d\nrule host%d from link:host%d src v%d dst v%d to port:v%d\n", a, a, a, c, c, c, a, a, c, c)
	}
	return b.String()
}

func chaosDirect() []int { return []int{0, 2, 3, 4, 6} } // of the pair of v1 and v2, and so on: 3 crosses the sites

func chaosVMs() (vms []string) {
	for i := range 8 {
		vms = append(vms, fmt.Sprintf("v%d", i+1))
	}
	return vms
}

// chaos is one run.
type chaos struct {
	*world
	dice  *rand.Rand
	file  string
	began time.Time
	peers []*steadyPeer

	mu      sync.Mutex // guards the following: hosts are started at once
	story   []string
	excuses map[int][]excuse // by stream
	counts  map[string]int
}

// excuse is a time in which a fault may cost packets of a stream.
type excuse struct{ from, to time.Time }

// fault is one thing that goes wrong and is mended again.
type fault struct {
	what   string
	dead   []string               // hosts that carry nothing meanwhile
	killed []string               // those of them whose daemon is another afterwards
	cut    func(a, b string) bool // whether packets between two hosts may be lost; nil for none
	leaky  bool                   // only some of them, so that links stand
	do     func()
	mend   func()
}

// TestChaos kills, cuts, freezes, fills and replaces for as long as it is told, while numbered packets go between all guests.
// What is lost is lost by a fault, between its beginning and the return of the last link it took; nothing comes twice; in the end
// all links are back and the overlay is as its user described it. The same seed makes the same faults.
func TestChaos(t *testing.T) {
	needs(t, "ip", "ping", "mount")
	c := &chaos{world: startLab(t, chaosLab()), dice: rand.New(rand.NewPCG(*chaosSeed, 0)), excuses: map[int][]excuse{}, counts: map[string]int{}}
	t.Cleanup(func() {
		t.Logf("seed %d, %v; to live it again: make chaos SEED=%d FOR=%v\n%s", *chaosSeed, *chaosFor, *chaosSeed, *chaosFor, strings.Join(c.story, "\n"))
	})
	c.settleIn()
	for end := c.began.Add(*chaosFor); time.Now().Before(end) && !t.Failed(); {
		for _, kind := range c.dice.Perm(len(chaosKinds())) {
			if time.Now().After(end) || t.Failed() {
				break
			}
			c.live(chaosKinds()[kind](c))
		}
	}
	c.judge(c.stopSteady(c.peers))
	c.whole()
}

// settleIn brings the overlay up, each daemon's state on a disk of 2 MB.
func (c *chaos) settleIn() {
	c.Helper()
	for _, h := range c.Spec().Hosts {
		c.run(h.Name, "sh", "-c", "mkdir -p /var/lib/vnet && mount -t tmpfs -o size=2m,mode=700 none /var/lib/vnet")
	}
	if err := c.Daemons.Start(c.Context()); err != nil {
		c.Fatal(err)
	}
	for i := range 8 { // each is seen
		c.run(fmt.Sprintf("v%d", i+1), "ping", "-c", "1", "-W", "2", c.Address(fmt.Sprintf("v%d", (i+1)%8+1)).String())
	}
	c.file = chaosFile(c.world)
	c.apply(c.file, "the direct paths")
	c.run("proxy", program, "backup", "/tmp/proxy.vnet")
	for i, vm := range chaosVMs() {
		c.peers = append(c.peers, c.steady(vm, chaosVMs()[(i+1)%8], chaosRate))
	}
	time.Sleep(calm)
	c.began = time.Now()
}

func (c *chaos) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.story = append(c.story, fmt.Sprintf("%8.3f  ", time.Since(c.began).Seconds())+fmt.Sprintf(format, args...))
}

// live goes through one fault: what it may cost whom is written down.
func (c *chaos) live(f fault) {
	c.Helper()
	direct, before := c.direct(), c.nodes()
	c.counts[strings.Fields(f.what)[0]]++
	began := time.Now()
	c.note("%s; not direct now: %v", f.what, direct.missing())
	f.do()
	f.mend()
	mended := time.Now()
	time.Sleep(time.Until(began.Add(starAgain))) // before, a link that is dead may not be known to be
	back := c.back(mended, before, f.killed)
	c.note("  mended, and all hosts are at the Proxy %.2f s later", max(0, back.Sub(mended).Seconds()))
	for i := range c.peers {
		if e, ok := c.excuse(i, f, direct[i]); ok {
			e.from = began.Add(-underWay)
			if e.to = back.Add(settles); !e.half {
				e.to = later(e.to, began.Add(starAgain+settles))
			} else {
				e.to = began.Add(starAgain + settles)
			}
			c.excuses[i] = append(c.excuses[i], e.excuse)
		}
	}
	time.Sleep(calm)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// cost is an excuse in the making; half: the direct path is cut and the star is not, so it is over when frames are back on the star.
type cost struct {
	excuse
	half bool
}

// excuse says whether a fault may cost packets of stream i, which goes over a direct link or not.
func (c *chaos) excuse(i int, f fault, direct bool) (cost, bool) {
	a, b := fmt.Sprintf("host%d", i+1), fmt.Sprintf("host%d", (i+1)%8+1)
	cut := func(x, y string) bool { return f.cut != nil && (f.cut(x, y) || f.cut(y, x)) }
	star := slices.Contains(f.dead, "proxy") || cut(a, "proxy") || cut(b, "proxy")
	between := cut(a, b)
	switch {
	case slices.Contains(f.dead, a), slices.Contains(f.dead, b):
		return cost{}, true
	case direct && between && !star && !f.leaky:
		return cost{half: true}, true
	case direct:
		return cost{}, between
	}
	return cost{}, star || between // adaptation may have given it a direct link
}

// directs says of each stream whether it goes over a direct link that the user asked for and that stands.
type directs [8]bool

func (d directs) missing() (pairs []string) {
	for _, i := range chaosDirect() {
		if !d[i] {
			pairs = append(pairs, fmt.Sprintf("host%d-host%d", i+1, i+2))
		}
	}
	return pairs
}

func (c *chaos) direct() (d directs) {
	c.Helper()
	all(chaosDirect(), func(i int) {
		peer, up := fmt.Sprintf("host%d", i+2), c.linksUp(fmt.Sprintf("host%d", i+1))
		c.mu.Lock()
		defer c.mu.Unlock()
		d[i] = slices.Contains(up, peer)
	})
	return d
}

// chaosNode is a node as the Proxy sees it.
type chaosNode struct {
	Name, State, BootID string
	Since               time.Time
}

// nodes are those that the Proxy sees; none while it does not answer.
func (c *chaos) nodes() map[string]chaosNode {
	text, err := c.Vnet(c.Context(), "proxy", "nodes", "-o", "json")
	var answer struct{ Nodes []chaosNode }
	if err != nil || json.Unmarshal([]byte(text), &answer) != nil {
		return nil
	}
	seen := map[string]chaosNode{}
	for _, n := range answer.Nodes {
		seen[n.Name] = n
	}
	return seen
}

// back waits until all hosts are at the Proxy, those that were started anew as what they are now, and returns since when the last
// of them is.
func (c *chaos) back(since time.Time, before map[string]chaosNode, killed []string) time.Time {
	c.Helper()
	var now map[string]chaosNode
	ok := c.within(backWithin, func() bool {
		now = c.nodes()
		for name, was := range before {
			if n := now[name]; n.State != "NODE_STATE_UP" || slices.Contains(killed, name) && n.BootID == was.BootID {
				return false
			}
		}
		return true
	})
	if !ok {
		c.Errorf("not all hosts are at the Proxy %v after the fault was mended: %+v", backWithin, now)
	}
	for _, n := range now {
		since = later(since, n.Since)
	}
	return since
}

// judge holds every loss against the excuses.
func (c *chaos) judge(reports map[string]steadyReport) {
	c.Helper()
	sent, excused, stood := 0, 0, map[[2]int64]bool{}
	var pauses []excuse
	for _, r := range reports {
		sent += r.Sent
		for _, s := range r.Stood {
			stood[s] = true
			pauses = append(pauses, excuse{time.Unix(0, s[0]).Add(-settles), time.Unix(0, s[1]).Add(starAgain + settles)})
		}
	}
	for i, p := range c.peers {
		from, to := reports[p.vm], reports[p.to]
		holes := to.Holes
		if missing := from.Sent - 1 - to.Highest; missing > 0 {
			holes = append(holes, hole{to.HighestAt, from.LastSent, missing})
		}
		for _, h := range holes {
			first, last := time.Unix(0, h.From), time.Unix(0, h.To)
			if last.Before(c.began) {
				continue // not all listened yet
			}
			if covered(first, last, append(c.excuses[i], pauses...)) {
				excused += h.Count
				continue
			}
			c.Errorf("%d packets of %s to %s that were sent between %.3f and %.3f are lost, and no fault explains it", h.Count, p.vm, p.to,
				first.Sub(c.began).Seconds(), last.Sub(c.began).Seconds())
		}
		if to.Twice > 0 {
			c.Errorf("%d packets of %s to %s came twice", to.Twice, p.vm, p.to)
		}
	}
	c.note("%d packets sent, %d lost, all of them by faults; the machine stood still %d times; faults: %v", sent, excused, len(stood), c.counts)
}

// covered says whether the excuses, which may overlap, explain a hole: all that was sent after its one end and before the other.
func covered(first, last time.Time, list []excuse) bool {
	step := time.Second / chaosRate
	first, last = first.Add(step/2), last.Add(-step/2) // the first that is lost was sent a step after the one that came
	slices.SortFunc(list, func(a, b excuse) int { return a.from.Compare(b.from) })
	for _, e := range list {
		if !e.from.After(first) && e.to.After(first) {
			first = e.to
		}
	}
	return !first.Before(last)
}

// whole checks what has to be so when all is over.
func (c *chaos) whole() {
	c.Helper()
	began := time.Now()
	c.eventually(2*time.Minute, "all direct links are back", func() bool { return len(c.direct().missing()) == 0 })
	c.note("all direct links stand %.1f s after the last fault", time.Since(began).Seconds())
	c.eventually(30*time.Second, "the overlay is as its user described it", func() bool {
		out, code := c.feed("proxy", c.file, "diff", "-")
		return code == 0 && out == "same\n"
	})
	for _, h := range c.Spec().Hosts {
		var warnings []string
		if !c.within(20*time.Second, func() bool { warnings = c.warnings(h.Name); return len(warnings) == 0 }) {
			c.Errorf("%s warns of %q", h.Name, warnings)
		}
	}
	hits := ask[struct{ Total struct{ HopLimitHits string } }](c.world, "proxy", "counters", "--all").Total.HopLimitHits
	if hits != "" && hits != "0" {
		c.Errorf("%s frames have run in circles", hits)
	}
	for i, vm := range chaosVMs() { // also those who have to ask who is where
		to := chaosVMs()[(i+3)%8]
		c.Output(c.Context(), vm, "ip", "neigh", "flush", "all")
		c.run(vm, "ping", "-c", "1", "-w", "5", c.Address(to).String())
	}
}

// chaosKinds are the faults. Each chooses with the dice at once, and does nothing yet.
func chaosKinds() []func(*chaos) fault {
	return []func(*chaos) fault{
		(*chaos).hostDies, (*chaos).proxyDies, (*chaos).allHostsDie, (*chaos).everythingDies, (*chaos).siteIsCut, (*chaos).pairIsCut,
		(*chaos).oneWay, (*chaos).lossOneWay, (*chaos).diskIsFull, (*chaos).fromBackup, (*chaos).hostStandsStill,
	}
}

// soon is up to so many seconds.
func (c *chaos) soon(most float64) time.Duration {
	return time.Duration(c.dice.Float64() * most * float64(time.Second)).Round(time.Millisecond)
}

func (c *chaos) anyHost() string { return fmt.Sprintf("host%d", 1+c.dice.IntN(8)) }

func chaosHosts() (hosts []string) {
	for i := range 8 {
		hosts = append(hosts, fmt.Sprintf("host%d", i+1))
	}
	return hosts
}

// kill ends daemons with SIGKILL, at once.
func (c *chaos) kill(hosts ...string) {
	c.Helper()
	all(hosts, func(h string) {
		if err := c.Kill(h); err != nil {
			c.Errorf("cannot kill %s: %v", h, err)
		}
	})
}

// revive starts hosts' daemons, at once.
func (c *chaos) revive(hosts ...string) {
	c.Helper()
	all(hosts, func(h string) {
		if err := c.Launch(h); err != nil {
			c.Errorf("cannot start %s: %v", h, err)
		}
	})
}

func (c *chaos) reviveProxy() {
	c.Helper()
	if err := c.StartProxy(c.Context()); err != nil {
		c.Fatal(err)
	}
}

func (c *chaos) hostDies() fault {
	h, off := c.anyHost(), c.soon(2)
	return fault{
		what: fmt.Sprintf("kill %s, off for %v", h, off), dead: []string{h}, killed: []string{h},
		do: func() { c.kill(h); time.Sleep(off) }, mend: func() { c.revive(h) },
	}
}

func (c *chaos) proxyDies() fault {
	off := c.soon(2)
	return fault{
		what: fmt.Sprintf("kill-proxy, off for %v", off), dead: []string{"proxy"}, killed: []string{"proxy"},
		do: func() { c.kill("proxy"); time.Sleep(off) }, mend: c.reviveProxy,
	}
}

func (c *chaos) allHostsDie() fault {
	return fault{
		what: "kill-hosts, all eight at once", dead: chaosHosts(), killed: chaosHosts(),
		do: func() { c.kill(chaosHosts()...) }, mend: func() { c.revive(chaosHosts()...) },
	}
}

func (c *chaos) everythingDies() fault {
	everything := append(chaosHosts(), "proxy")
	return fault{
		what: "kill-everything at once", dead: everything, killed: everything,
		do: func() { c.kill(everything...) },
		mend: func() {
			c.revive(chaosHosts()...)
			c.reviveProxy()
		},
	}
}

// at is the site of a host.
func (c *chaos) at(host string) string {
	h, _ := c.Spec().Host(host)
	return h.Site
}

// sites are two of the three.
func (c *chaos) sites() (a, b string) {
	order := c.dice.Perm(3)
	names := []string{"east", "west", "home"}
	return names[order[0]], names[order[1]]
}

// across says of hosts whether one is at one site and the other at the other.
func (c *chaos) across(a, b string) func(string, string) bool {
	return func(x, y string) bool { return c.at(x) == a && c.at(y) == b }
}

func (c *chaos) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *chaos) siteIsCut() fault {
	a, b := c.sites()
	lasts := c.soon(3)
	return fault{
		what: fmt.Sprintf("part %s from %s for %v", a, b, lasts), cut: c.across(a, b),
		do: func() { c.must(c.Cut(a, b)); time.Sleep(lasts) }, mend: func() { c.must(c.Heal(a, b)) },
	}
}

func (c *chaos) pairIsCut() fault {
	hosts := append(chaosHosts(), "proxy")
	order := c.dice.Perm(len(hosts))
	a, b, lasts := hosts[order[0]], hosts[order[1]], c.soon(3)
	if c.dice.IntN(2) == 0 { // two that have a link
		i := chaosDirect()[c.dice.IntN(5)]
		a, b = fmt.Sprintf("host%d", i+1), fmt.Sprintf("host%d", i+2)
	}
	return fault{
		what: fmt.Sprintf("cut %s from %s for %v", a, b, lasts), cut: func(x, y string) bool { return x == a && y == b },
		do: func() { c.must(c.Cut(a, b)); time.Sleep(lasts) }, mend: func() { c.must(c.Heal(a, b)) },
	}
}

func (c *chaos) oneWay() fault {
	a, b := c.sites()
	lasts := c.soon(3)
	return fault{
		what: fmt.Sprintf("cut-one-way %s to %s for %v", a, b, lasts), cut: c.across(a, b),
		do: func() { c.must(c.CutOneWay(a, b)); time.Sleep(lasts) }, mend: func() { c.must(c.Heal(a, b)) },
	}
}

func (c *chaos) lossOneWay() fault {
	a, b := c.sites()
	lasts, loss := time.Second+c.soon(3), 0.05+0.3*c.dice.Float64()
	path := func() wan.Path {
		for _, p := range c.Spec().Paths {
			if p.A == a && p.B == b {
				return p.There
			}
			if p.A == b && p.B == a {
				return p.Back
			}
		}
		c.Fatalf("there is no path from %s to %s", a, b)
		return wan.Path{}
	}
	return fault{
		what: fmt.Sprintf("lose %.0f %% from %s to %s for %v", 100*loss, a, b, lasts), cut: c.across(a, b), leaky: true,
		do: func() {
			bad := path()
			bad.Loss = loss
			c.must(c.SetPathOneWay(a, b, bad))
			time.Sleep(lasts)
		},
		mend: func() { c.must(c.SetPathOneWay(a, b, path())) },
	}
}

// diskIsFull fills the disk of a daemon, which nobody notices, and then kills it: it comes back with the disk full.
func (c *chaos) diskIsFull() fault {
	h := append(chaosHosts(), "proxy", "proxy")[c.dice.IntN(10)]
	return fault{
		what: fmt.Sprintf("full-disk of %s, which is then killed", h), dead: []string{h},
		do: func() {
			before := c.nodes()
			full := "cat /dev/zero >/var/lib/vnet/fill 2>/dev/null; true"
			c.run(h, "sh", "-c", full)
			if h == "proxy" {
				c.fullProxy()
			}
			c.kill(h)
			if h == "proxy" {
				c.reviveProxy()
			} else {
				c.revive(h)
			}
			c.back(time.Now(), before, []string{h})
		},
		mend: func() { c.run(h, "rm", "/var/lib/vnet/fill") },
	}
}

// fullProxy asks a Proxy whose disk is full for what has to be on disk: it says so.
func (c *chaos) fullProxy() {
	c.Helper()
	for range 50 { // there may be room left within the file
		_, err := c.Vnet(c.Context(), "proxy", "token", "create")
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), "no space left") {
			c.Errorf("asked for a token, a Proxy whose disk is full says: %v", err)
		}
		return
	}
	c.note("  50 tokens found room on the full disk")
}

// fromBackup puts another machine in the Proxy's place, with what was backed up when it all began.
func (c *chaos) fromBackup() fault {
	off := c.soon(1)
	return fault{
		what: fmt.Sprintf("replace-proxy from its backup, after %v", off), dead: []string{"proxy"}, killed: []string{"proxy"},
		do: func() {
			c.kill("proxy")
			c.run("proxy", "sh", "-c", "rm -rf /var/lib/vnet/*")
			time.Sleep(off)
			c.run("proxy", program, "restore", "/tmp/proxy.vnet")
		},
		mend: c.reviveProxy,
	}
}

func (c *chaos) hostStandsStill() fault {
	h, lasts := c.anyHost(), 500*time.Millisecond+c.soon(2)
	send := func(s syscall.Signal) { c.must(c.Proc(h).Signal(s)) }
	return fault{
		what: fmt.Sprintf("freeze %s for %v", h, lasts), dead: []string{h},
		do: func() { send(syscall.SIGSTOP); time.Sleep(lasts) }, mend: func() { send(syscall.SIGCONT) },
	}
}
