package lab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

const (
	// maxPacket bounds what a tunnel device of MTU 1500 gives, in bytes.
	maxPacket = 2048
	// maxInFlight bounds the relay's memory: 65,536 packets of 2 KiB are 50 ms at more than 10 Gbit/s.
	maxInFlight = 1 << 16
	// readBatch is how many packets one site may bring before the others are looked at.
	readBatch = 64
	// timerSlack, in ns, is how late the kernel may wake the relay's thread; the default of 50 µs would show
	// in a path of 1 ms.
	timerSlack = 1000
)

// relay carries IP packets between the sites' routers as the paths allow. One thread does it all, so nothing
// on the way of a packet is locked; others reach it through do.
type relay struct {
	sites []relaySite
	lanes map[[2]int]*lane // by index of the sites it leads from and to
	dice  *rand.Rand
	wake  int // eventfd

	// Owned by the relay's thread.
	flight flight
	free   [][]byte
	stray  uint64 // packets to an address of no site, or of one without a path

	mu   sync.Mutex
	todo []func() // what others want done by the thread; guarded by mu
}

type relaySite struct {
	name   string
	subnet netip.Prefix
	file   *os.File // keeps fd open
	fd     int      // of the tunnel device; not blocking
}

// lane is one direction of one path.
type lane struct {
	from, to string
	pipe     *wan.Pipe
	cut      bool
	sent     uint64
	bytes    uint64
	drops    map[string]uint64
}

func newRelay(s *Spec, tunnels map[string]*os.File, seed uint64) (*relay, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot make the relay's wake-up: %w", err)
	}
	r := &relay{lanes: map[[2]int]*lane{}, wake: wake, dice: rand.New(rand.NewPCG(seed, 0))}
	index := map[string]int{}
	for _, site := range s.Sites {
		f := tunnels[site.Name]
		if f == nil {
			continue
		}
		index[site.Name] = len(r.sites)
		fd := int(f.Fd())
		// Fd leaves the descriptor blocking; the relay polls.
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("cannot poll the tunnel of site %s: %w", site.Name, err)
		}
		r.sites = append(r.sites, relaySite{site.Name, site.Subnet, f, fd})
	}
	for _, w := range s.Paths {
		r.addLane(index, w.A, w.B, w.There)
		r.addLane(index, w.B, w.A, w.Back)
	}
	return r, nil
}

func (r *relay) addLane(index map[string]int, from, to string, p wan.Path) {
	r.lanes[[2]int{index[from], index[to]}] = &lane{
		from: from, to: to, pipe: wan.New(onWire(p)), drops: map[string]uint64{},
	}
}

// onWire lets a path's MTU mean IP bytes while sizes are offered with their Ethernet header.
func onWire(p wan.Path) wan.Path {
	if p.MTU > 0 {
		p.MTU += etherHeader
	}
	return p
}

// run carries packets until the process ends.
func (r *relay) run() {
	runtime.LockOSThread()
	// Without it the paths are up to 50 µs longer: not worth failing for.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
	polled := make([]unix.PollFd, 0, len(r.sites)+1)
	for _, s := range r.sites {
		polled = append(polled, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
	}
	polled = append(polled, unix.PollFd{Fd: int32(r.wake), Events: unix.POLLIN})
	for {
		_, err := unix.Ppoll(polled, r.timeout(), nil)
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			panic(fmt.Sprintf("lab: relay cannot wait: %v", err))
		}
		for i := range r.sites {
			if err == nil && polled[i].Revents&unix.POLLIN != 0 {
				r.collect(i)
			}
		}
		r.deliver(time.Now())
		if err == nil && polled[len(r.sites)].Revents != 0 {
			r.obey()
		}
	}
}

// timeout is how long the thread may sleep; nil = until something happens.
func (r *relay) timeout() *unix.Timespec {
	due, ok := r.flight.next()
	if !ok {
		return nil
	}
	ts := unix.NsecToTimespec(max(int64(time.Until(due)), 0))
	return &ts
}

// collect reads what a site's router sends to the others.
func (r *relay) collect(site int) {
	for range readBatch {
		buf := r.buffer()
		n, err := unix.Read(r.sites[site].fd, buf)
		if err != nil || n == 0 {
			r.free = append(r.free, buf)
			return
		}
		if !r.offer(time.Now(), site, buf[:n]) {
			r.free = append(r.free, buf)
		}
	}
}

// offer puts a packet on its lane; false = it was dropped, and counted.
func (r *relay) offer(now time.Time, from int, packet []byte) bool {
	to, ok := r.route(packet)
	l := r.lanes[[2]int{from, to}]
	if !ok || l == nil {
		r.stray++
		return false
	}
	size := len(packet) + etherHeader
	switch {
	case l.cut:
		l.drops["cut"]++
		return false
	case r.flight.len() >= maxInFlight:
		l.drops["relay full"]++
		return false
	}
	due, ok, why := l.pipe.Offer(now, size, r.dice)
	if !ok {
		l.drops[why.String()]++
		return false
	}
	r.flight.add(parcel{due: due, packet: packet, lane: l, to: r.sites[to].fd})
	return true
}

// route finds the site of an IPv4 packet's destination.
func (r *relay) route(packet []byte) (int, bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return 0, false
	}
	dst := netip.AddrFrom4([4]byte(packet[16:20]))
	for i, s := range r.sites {
		if s.subnet.Contains(dst) {
			return i, true
		}
	}
	return 0, false
}

// deliver writes every packet whose time has come.
func (r *relay) deliver(now time.Time) {
	for {
		due, ok := r.flight.next()
		if !ok || due.After(now) {
			return
		}
		p := r.flight.take()
		switch {
		case p.lane.cut: // a path that is cut loses what was on it
			p.lane.drops["cut"]++
		default:
			if _, err := unix.Write(p.to, p.packet); err != nil {
				p.lane.drops["far router full"]++
			} else {
				p.lane.sent++
				p.lane.bytes += uint64(len(p.packet) + etherHeader)
			}
		}
		r.free = append(r.free, p.packet[:maxPacket])
	}
}

func (r *relay) buffer() []byte {
	if n := len(r.free); n > 0 {
		b := r.free[n-1]
		r.free = r.free[:n-1]
		return b
	}
	return make([]byte, maxPacket)
}
