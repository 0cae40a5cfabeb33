package link

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is one node of a test: an endpoint and what it received.
type site struct {
	*Endpoint
	accepted chan *Link

	mu     sync.Mutex
	got    []ether.Packet // copies
	frames int
	grew   chan struct{} // room for one
	keep   bool
	refuse error
	seen   []uint8 // by number of numbered frames, when counting
}

func newCA(t testing.TB) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *pki.CA, name string) *pki.Identity {
	t.Helper()
	id, err := ca.Issue(name, pki.RoleHost, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// newSite runs an endpoint until the returned stop, which waits for it.
func newSite(t testing.TB, id *pki.Identity, net Net, at string, change func(*Config)) (*site, func()) {
	t.Helper()
	s := makeSite(t, id, net, at, change)
	return s, s.run(t)
}

// makeSite makes an endpoint that does not run yet.
func makeSite(t testing.TB, id *pki.Identity, net Net, at string, change func(*Config)) *site {
	t.Helper()
	s := &site{accepted: make(chan *Link, 16), grew: make(chan struct{}, 1), keep: true}
	cfg := Config{Identity: id, Net: net, Listen: netip.MustParseAddrPort(at), FirstLane: 1, Receive: s.receive, Accept: s.accept}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Endpoint = e
	return s
}

func (s *site) run(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func (s *site) accept(l *Link) error {
	if s.refuse != nil {
		return s.refuse
	}
	l.Start("acceptor")
	s.accepted <- l
	return nil
}

func (s *site) receive(lane int, l *Link, pkts []ether.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pkts {
		s.frames += p.Frames()
		if s.keep {
			p.Frame = append(ether.Frame(nil), p.Frame...)
			s.got = append(s.got, p)
		}
		if n := number(p.Frame); n < len(s.seen) {
			s.seen[n]++
		}
	}
	select {
	case s.grew <- struct{}{}:
	default:
	}
}

// waitFrames returns what arrived when it is n frames; it fails after 5 s without.
func (s *site) waitFrames(t testing.TB, n int) []ether.Packet {
	t.Helper()
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		frames, got := s.frames, s.got
		s.mu.Unlock()
		if frames >= n {
			return got
		}
		select {
		case <-s.grew:
		case <-timeout.C:
			t.Fatalf("%d of %d frames have arrived", frames, n)
		}
	}
}

// dial links from a to b and returns both ends.
func dial(t testing.TB, a, b *site, carrier Carrier) (*Link, *Link) {
	t.Helper()
	l, err := tryDial(a, b, carrier, "b")
	if err != nil {
		t.Fatal(err)
	}
	return l, <-b.accepted
}

func tryDial(a, b *site, carrier Carrier, peer string) (*Link, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return a.Dial(ctx, Target{Peer: peer, Addrs: []netip.AddrPort{b.Addr()}, Carrier: carrier, Kind: Fast, Owner: "dialler"})
}

// frame is a plain Ethernet frame of a test protocol, n bytes long and numbered.
func frame(num, n int) ether.Packet {
	f := make(ether.Frame, max(n, 18))
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	binary.BigEndian.PutUint32(f[14:], uint32(num))
	for i := 18; i < len(f); i++ {
		f[i] = byte(num + i)
	}
	return ether.Packet{Frame: f}
}

func number(f ether.Frame) int {
	if len(f) < 18 || f.EtherType() != 0x88b5 {
		return 1 << 30
	}
	return int(binary.BigEndian.Uint32(f[14:]))
}

// superFrame is a TCP super-frame of n bytes with its checksum left open.
func superFrame(n, mss int) ether.Packet {
	f := make(ether.Frame, n)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00})
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(n-14))
	copy(ip[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	tcp := ip[20:]
	tcp[12], tcp[13] = 5<<4, 0x10
	sum = uint32(10<<8+0) + 1 + 10<<8 + 2 + 6 + uint32(n-34)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(tcp[16:], uint16(sum))
	for i := 54; i < n; i++ {
		f[i] = byte(i * 7)
	}
	return ether.Packet{Frame: f, Offload: ether.Offload{
		Flags: ether.NeedsChecksum, GSOType: ether.GSOTCPv4, HdrLen: 54, GSOSize: uint16(mss), CsumStart: 34, CsumOffset: 16,
	}}
}

// datagrams is a super-frame of so many UDP datagrams of size bytes.
func datagrams(count, size int) ether.Packet {
	p := superFrame(42+count*size, size)
	ip := p.Frame[14:]
	const more = 17 - 6 // UDP's number instead of TCP's
	ip[9] += more
	binary.BigEndian.PutUint16(ip[10:], binary.BigEndian.Uint16(ip[10:])-more)
	udp := ip[20:]
	sum := binary.BigEndian.Uint16(udp[16:]) + more // the pseudo-header's; it does not overflow
	clear(udp[8:20])
	copy(udp, []byte{0x13, 0x89, 0x13, 0x8a})
	binary.BigEndian.PutUint16(udp[4:], uint16(8+count*size))
	binary.BigEndian.PutUint16(udp[6:], sum)
	p.Offload.GSOType, p.Offload.HdrLen, p.Offload.CsumOffset = ether.GSOUDP, 42, 6
	return p
}
