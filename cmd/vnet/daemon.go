package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

const (
	// defaultPort is the UDP and TCP port of the overlay called vnet; unassigned by IANA.
	defaultPort = 4747
	// otherPorts is where the ports of other overlays begin: below the range the kernel takes for outgoing connections.
	otherPorts = 20000
	// otherPortCount is how many ports the names of overlays are spread over.
	otherPortCount = 10000
	// stateFile holds what a daemon must remember, in its state directory.
	stateFile = "state.db"
)

// daemonFlags are what both roles are started with.
type daemonFlags struct {
	state     string
	listen    string
	advertise []string
	taps      []string // NAME or NAME=INTERFACE
	tapFDs    []string // NAME=FD,FD…[:MTU]
	qemus     []string // NAME=stream:ADDRESS or NAME=dgram:ADDRESS[,ADDRESS]
	lans      []string // INTERFACE or NAME=INTERFACE
	carrier   string
	sockets   int
	metrics   string           // loopback IP:PORT; empty for none
	without   map[string]*bool // offloads that are not to be used, by name
	uncounted bool
	user      string // who the daemon becomes; empty: who started it
	clampMSS  uint16 // 0: none
	apiGroup  string // who may use the socket besides; empty: nobody
	verbose   bool
	nice      string // empty: the default
	profile   string // file for a CPU profile; empty for none
}

func (f *daemonFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.state, "state", "", "state `directory` (default: by overlay)")
	flags.StringVar(&f.listen, "listen", "", "`IP:PORT` for udp and tcp (default: every address, a port by overlay)")
	flags.StringSliceVar(&f.advertise, "advertise", nil, "a further `IP:PORT` where other nodes can reach this one; may be repeated")
	flags.StringArrayVar(&f.taps, "tap", nil, "create a TAP device as port `NAME[=INTERFACE]`; may be repeated")
	flags.StringArrayVar(&f.tapFDs, "tap-fd", nil, "use TAP queues handed over as descriptors: `NAME=FD[,FD...][:MTU]`; may be repeated")
	flags.StringArrayVar(&f.qemus, "qemu", nil, "let a guest of QEMU plug in at a socket: `NAME=stream:PATH`, NAME=dgram:PATH[,PATH], or loopback IP:PORTs; may be repeated")
	flags.StringArrayVar(&f.lans, "lan", nil, "join the LAN of an existing interface or bridge: `[NAME=]INTERFACE`; may be repeated")
	flags.StringVar(&f.carrier, "carrier", "auto", "carrier of the star link: auto, udp or tcp")
	complete(cmd, "carrier", carrierNames)
	flags.IntVar(&f.sockets, "sockets", 0, "UDP sockets that share the port, each with a worker, `1..16`: peers are spread over them (default: one for two cores, at most 4)")
	flags.StringVar(&f.metrics, "metrics", "", "loopback `IP:PORT` where a monitor finds totals at /metrics (they are on the socket anyway)")
	flags.StringVar(&f.nice, "nice", "", fmt.Sprintf("run before or after other programs of this machine: a niceness `%d..%d` (default: %d as root, else that of who starts it)", leastNice, mostNice, defaultNice))
	f.without = map[string]*bool{}
	for _, name := range offloadNames() {
		f.without[name] = flags.Bool("no-"+name, false, "do without this offload; see: vnet offload --help")
	}
	flags.BoolVar(&f.uncounted, "uncounted", false, "count no traffic, so that none is inferred: to measure what counting costs")
	flags.StringVar(&f.profile, "cpuprofile", "", "write a CPU profile to `file` until the daemon ends, for developers")
	for _, name := range []string{"cpuprofile", "uncounted"} {
		if err := flags.MarkHidden(name); err != nil {
			panic("vnet: a flag that does not exist is to be hidden")
		}
	}
	flags.Uint16Var(&f.clampMSS, "clamp-mss", 0, "have guests' TCP connections send at most so many `BYTES` a segment, such as 1360; 0 leaves that to them")
	flags.StringVar(&f.user, "user", "", "once everything is open, go on as this `USER`, who gets the state directory")
	flags.StringVar(&f.apiGroup, "api-group", "", "let members of this `GROUP` ask and command the daemon on its socket (default: its user and root only)")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every event in detail")
}

// off are the offloads that are not to be used.
func (f *daemonFlags) off() (names []string) {
	for _, name := range offloadNames() {
		if no := f.without[name]; no != nil && *no {
			names = append(names, name)
		}
	}
	return names
}

const (
	// maxSockets bounds the group of UDP sockets that a user may ask for: each has a worker.
	maxSockets = 16
	// maxWorkers is how many a node has in all; one of them makes the node's own frames.
	maxWorkers = 64
)

// defaultSockets is one for every two cores, up to four, as far as there is room beside the ports' queues: the other half of the
// cores is for the workers of ports, and where there are two cores a second worker would only take turns with them.
func defaultSockets(cores, queues int) int {
	return max(1, min(cores/2, 4, maxWorkers-1-queues))
}

// leastMSS is what every host takes without being asked (RFC 9293 §3.7.1).
const leastMSS = 536

// portOf gives every overlay a port of its own, so that two run on one machine.
func portOf(overlay string) uint16 {
	if overlay == defaultOverlay {
		return defaultPort
	}
	h := fnv.New32a()
	h.Write([]byte(overlay))
	return uint16(otherPorts + h.Sum32()%otherPortCount)
}

// daemon is what is common to the making of both roles.
type daemon struct {
	state  string
	listen netip.AddrPort
	offer  []netip.AddrPort
	wish   link.Carrier
	log    *slog.Logger
	store  *store.Store
	ports  []port.Port
	boot   uint64
	remote *server.Remote // serves clients from afar; nil at a host
	as     *account       // who it becomes; nil: who it is
	clamp  uint16
	socks  int                    // of the UDP port
	group  int                    // who may use the socket besides; -1: nobody
	next   func() (string, error) // what to type next, once it is up; nil for nothing

	metrics   netip.AddrPort
	without   []string // offloads
	uncounted bool

	profile *os.File // nil for none
}

// prepare opens what a daemon needs. What it opened is closed again by close, also after an error.
func (f *daemonFlags) prepare(c *cli) (d *daemon, err error) {
	d = &daemon{boot: uint64(time.Now().UnixMicro())}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	d.log = slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
	if err := d.prioritize(f.nice); err != nil {
		return d, err
	}
	if d.state = f.state; d.state == "" {
		if d.state, err = stateDir(c.overlay); err != nil {
			return d, err
		}
	}
	if d.listen, err = f.listenAt(c.overlay); err != nil {
		return d, err
	}
	for _, text := range f.advertise {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return d, usagef("cannot advertise %q: want IP:PORT", text)
		}
		d.offer = append(d.offer, at)
	}
	if d.clamp = f.clampMSS; d.clamp > 0 && d.clamp < leastMSS {
		return d, usagef("cannot clamp segments to %d bytes: give %d or more", d.clamp, leastMSS)
	}
	if d.socks = f.sockets; d.socks < 0 || d.socks > maxSockets {
		return d, usagef("cannot use %d sockets: give 1 to %d", d.socks, maxSockets)
	}
	if d.wish, err = carrierWish(f.carrier); err != nil {
		return d, err
	}
	d.without = f.off()
	if d.uncounted = f.uncounted; f.metrics != "" {
		if d.metrics, err = netip.ParseAddrPort(f.metrics); err != nil || !d.metrics.Addr().IsLoopback() {
			return d, usagef("cannot serve totals at %q: give a loopback IP:PORT, such as 127.0.0.1:9100", f.metrics)
		}
	}
	if err := f.people(d); err != nil {
		return d, err
	}
	if err := os.MkdirAll(d.state, 0o700); err != nil {
		return d, fmt.Errorf("cannot make the state directory: %w", err)
	}
	if d.store, err = store.Open(filepath.Join(d.state, stateFile)); err != nil {
		return d, err
	}
	if d.ports, err = f.openPorts(d.listen.Port()); err != nil {
		return d, err
	}
	if d.socks == 0 {
		d.socks = defaultSockets(runtime.NumCPU(), d.queues())
	}
	if f.profile == "" {
		return d, nil
	}
	if d.profile, err = os.Create(f.profile); err != nil {
		return d, fmt.Errorf("cannot write the profile: %w", err)
	}
	return d, pprof.StartCPUProfile(d.profile)
}

// people finds the user and the group that were named.
func (f *daemonFlags) people(d *daemon) (err error) {
	if d.group, err = findGroup(f.apiGroup); err != nil || f.user == "" {
		return err
	}
	if os.Geteuid() != 0 {
		return usagef("cannot become %s: only root can; leave --user away", f.user)
	}
	a, err := findAccount(f.user)
	d.as = &a
	return err
}

func (d *daemon) close() {
	if d.profile != nil {
		pprof.StopCPUProfile()
		d.profile.Close()
	}
	for _, p := range d.ports {
		p.Close()
	}
	if d.store != nil {
		d.store.Close()
	}
}

func (f *daemonFlags) listenAt(overlay string) (netip.AddrPort, error) {
	if f.listen == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), portOf(overlay)), nil
	}
	at, err := netip.ParseAddrPort(f.listen)
	if err != nil {
		return at, usagef("cannot listen at %q: want IP:PORT, such as 0.0.0.0:%d", f.listen, defaultPort)
	}
	return at, nil
}

// carrierNames are what --carrier takes.
func carrierNames() []string { return []string{"auto", "udp", "tcp"} }

func carrierWish(s string) (link.Carrier, error) {
	for _, one := range []link.Carrier{link.Auto, link.UDP, link.TCP} {
		if s == one.String() {
			return one, nil
		}
	}
	return 0, usagef("cannot use carrier %q: give auto, udp or tcp", s)
}

// makeRoom gives the scheduler a place for each worker that blocks in a system call, beside those of the processors.
// Without it every such call has its place taken away and looks for another when it returns, and the scheduler's
// watchman never sleeps: 9 % of the rate of one stream (docs/performance.md). GOMAXPROCS in the environment wins.
func (d *daemon) makeRoom() {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	blocked := 1 + d.socks + d.queues() // the workers, and whoever waits for the disk
	runtime.GOMAXPROCS(runtime.NumCPU() + min(blocked, maxRoom))
}

// saveMemory has garbage collected when there is half as much of it as of what lives, not as much: frames make none, so that
// collecting is rare and its cost nothing, but a connection that grows, a change or a question from a person leave some, and
// what a daemon has taken once it keeps. GOGC in the environment wins.
func (d *daemon) saveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbageShare)
	}
}

// garbageShare is garbage in percent of what lives.
const garbageShare = 50

// queues is how many queues the ports have, each with a worker.
func (d *daemon) queues() (n int) {
	for _, p := range d.ports {
		n += p.Queues()
	}
	return n
}

// maxRoom bounds the places beyond the processors: each has a cache of free memory.
const maxRoom = 16

// run serves the daemon's API beside it until ctx ends or one of them fails.
func (d *daemon) run(ctx context.Context, c *cli, service server.Daemon, main func(context.Context) error, ready <-chan struct{}) error {
	d.makeRoom()
	d.saveMemory()
	socket := c.socket
	if socket == "" {
		socket = socketPath(c.overlay)
	}
	srv := server.New(service, server.Config{Socket: socket, Metrics: d.metrics, Log: d.log, Group: d.group, Grouped: d.group >= 0, User: d.user()})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return main(ctx) })
	if d.remote != nil {
		group.Go(func() error { return d.remote.Run(ctx) })
	}
	group.Go(func() error {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
		return srv.Run(ctx)
	})
	group.Go(func() error {
		select {
		case <-srv.Ready():
			if err := d.drop(); err != nil { // devices, sockets and files are open
				return err
			}
			if err := announce(c.out, service.Name(), c.overlay, socket); err != nil || d.next == nil {
				return err
			}
			return d.sayNext(c.out)
		case <-ctx.Done():
			return nil
		}
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// user is whose the socket is.
func (d *daemon) user() int {
	if d.as != nil {
		return d.as.uid
	}
	return os.Geteuid()
}

func announce(out io.Writer, name, overlay, socket string) error {
	which := ""
	switch {
	case socket != socketPath(overlay):
		which = " --socket " + socket
	case overlay != defaultOverlay:
		which = " --overlay " + overlay
	}
	_, err := fmt.Fprintf(out, "node %s of overlay %s is up; ask it with: vnet status%s\n", name, overlay, which)
	return err
}

// sayNext prints what to type next.
func (d *daemon) sayNext(out io.Writer) error {
	line, err := d.next()
	if err != nil || line == "" {
		return err
	}
	_, err = fmt.Fprintln(out, line)
	return err
}

// answerer makes what answers calls of other daemons.
func answerer(service func() server.Daemon) func(context.Context, string, []byte) control.Answer {
	return func(ctx context.Context, method string, body []byte) control.Answer {
		out, err := server.Dispatch(ctx, service(), method, body)
		if err != nil {
			e := api.AsError(err)
			return control.Answer{Code: e.Code.String(), Error: e.Text()}
		}
		return control.Answer{Body: slices.Clone(out)}
	}
}
