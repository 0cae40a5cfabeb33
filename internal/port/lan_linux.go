package port

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	// lanReceiveBuffer is how many bytes may wait for us in the kernel: 10 ms at 10 Gbit/s, with what the kernel
	// charges beside the frames.
	lanReceiveBuffer = 32 << 20
	// lanSendBuffer is how many bytes of frames may be under way out of the interface.
	lanSendBuffer = 4 << 20
	// lanLook is how often the reader of an idle interface looks whether it still exists. The kernel says once
	// that an interface goes down, to whoever asks first, and nothing when it is deleted. Seldom enough to cost
	// nothing, often enough for who waits for the message.
	lanLook = time.Second
)

// LANConfig says which interface to join.
type LANConfig struct {
	Name      string // what the user calls the port; "" = as the interface
	Interface string
	// Underlay are the endpoints of our own links, ours and the peers': frames from or to them are not read. An
	// unspecified address stands for all addresses of this machine.
	Underlay []netip.AddrPort
}

// LAN is a port on an existing interface: it reads all frames that arrive there, and sends through it. Its own
// host is not reached by what it sends; through a bridge it is. The kernel takes a frame longer than the MTU with
// one 802.1Q tag and no other, so with more tags the longest frames are dropped.
type LAN struct {
	name   string
	queue  queue
	gate   *gate
	mac    ether.MAC
	index  int
	vnet   bool // the kernel puts marks in front of frames
	device device
	outlet outlet
}

// OpenLAN joins an existing interface.
func OpenLAN(c LANConfig) (Port, error) {
	if c.Name == "" {
		c.Name = c.Interface
	}
	l, err := openLAN(c)
	if err != nil {
		return nil, fmt.Errorf("cannot join the LAN of interface %q: %w", c.Interface, err)
	}
	return l, nil
}

func openLAN(c LANConfig) (*LAN, error) {
	iface, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return nil, errors.New("there is no such interface")
	}
	dev, err := newDevice(c.Interface)
	if err != nil {
		return nil, err
	}
	mac, family, err := readHardware(dev.fd, c.Interface)
	if err == nil && family != unix.ARPHRD_ETHER {
		err = errors.New("it does not carry Ethernet")
	}
	if err != nil {
		dev.close()
		return nil, err
	}
	l := &LAN{name: c.Name, mac: mac, index: iface.Index, device: dev, gate: newGate()}
	l.outlet.door = l
	l.outlet.start(0, "", iface.MTU)
	if err := l.open(c.Underlay); err != nil {
		dev.close()
		return nil, err
	}
	return l, nil
}

func (l *LAN) open(underlay []netip.AddrPort) error {
	// Protocol 0: no frame is read before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return errors.New("this needs CAP_NET_RAW: start as root")
	}
	if err != nil {
		return fmt.Errorf("cannot open a packet socket: %w", err)
	}
	wake, err := newWake()
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	l.queue = queue{fd: fd, wake: wake, look: lanLook}
	if err := l.setUp(underlay); err != nil {
		_ = unix.Close(fd)
		_ = unix.Close(wake)
		return err
	}
	return nil
}

func (l *LAN) setUp(underlay []netip.AddrPort) error {
	fd := l.queue.fd
	mtu := int(l.outlet.mtu.Load())
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err == nil {
		l.vnet = true
		l.outlet.start(takesAll, "", mtu)
	} else {
		l.outlet.start(0, "not by this kernel: PACKET_VNET_HDR: "+err.Error(), mtu)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("cannot ask for tags: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("cannot leave out what this machine sends (Linux 4.20 can): %w", err)
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, lanReceiveBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, lanSendBuffer)
	if err := l.SetUnderlay(underlay); err != nil {
		return err
	}
	at := unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: l.index}
	if err := unix.Bind(fd, &at); err != nil {
		return fmt.Errorf("cannot bind: %w", err)
	}
	member := unix.PacketMreq{Ifindex: int32(l.index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &member); err != nil {
		return fmt.Errorf("cannot read frames for others: %w", err)
	}
	return nil
}

// setBuffer sizes a socket buffer as far as we are allowed to; a smaller one only drops earlier.
func setBuffer(fd, force, ask, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ask, size)
	}
}

func networkOrder(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// SetUnderlay replaces the endpoints whose frames are not read, at once and without a gap.
func (l *LAN) SetUnderlay(ours []netip.AddrPort) error {
	if !l.gate.enter() {
		return net.ErrClosed
	}
	defer l.gate.leave()
	return attachFilter(ours, func(program *unix.SockFprog) error {
		return unix.SetsockoptSockFprog(l.queue.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program)
	})
}

// Name returns what the user calls the port.
func (l *LAN) Name() string { return l.name }

// Queues returns 1: a packet socket is one queue.
func (l *LAN) Queues() int { return 1 }

// Read waits for frames that arrive at the interface.
func (l *LAN) Read(_ int, b *Batch) error {
	if !l.gate.enter() {
		return net.ErrClosed
	}
	defer l.gate.leave()
	return l.lifeError(l.queue.fill(b, l.receive))
}

// Write sends frames out of the interface.
func (l *LAN) Write(q int, pkts []ether.Packet) (int, error) {
	if !l.gate.enter() {
		return 0, net.ErrClosed
	}
	defer l.gate.leave()
	n, err := l.outlet.write(q, pkts)
	return n, l.lifeError(err)
}

func (l *LAN) put(_ int, p *ether.Packet) error {
	errno := l.send(p)
	if errno == unix.ENETDOWN {
		errno = l.send(p) // the first may only have told that the interface was down for a while
	}
	err := meaning(errno)
	if errors.Is(err, errDown) && !l.device.is(l.index) {
		return ErrGone
	}
	return err
}

func (l *LAN) send(p *ether.Packet) unix.Errno {
	if l.vnet {
		return writeMarked(l.queue.fd, p)
	}
	_, _, errno := unix.Syscall(unix.SYS_WRITE, uintptr(l.queue.fd), uintptr(unsafe.Pointer(&p.Frame[0])), uintptr(len(p.Frame)))
	return errno
}

// lifeError names the interface in an error that ends the port.
func (l *LAN) lifeError(err error) error {
	if err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	return fmt.Errorf("cannot use LAN interface %q: %w", l.device.name, err)
}

func (l *LAN) refreshMTU() int {
	if mtu, err := l.device.mtu(); err == nil {
		l.outlet.mtu.Store(int64(mtu))
	}
	return int(l.outlet.mtu.Load())
}

// SetOffloads chooses what the port takes unfinished; what it gives is up to the interface.
func (l *LAN) SetOffloads(names []string) error {
	_, err := l.outlet.use(names)
	return err
}

// Info describes the port.
func (l *LAN) Info() Info {
	if l.gate.enter() {
		defer l.gate.leave()
		l.refreshMTU()
		// The kernel counts from one asking to the next.
		if stats, err := unix.GetsockoptTpacketStats(l.queue.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			l.outlet.drops.add(dropLate, int(stats.Drops))
		}
	}
	return Info{
		Kind:      KindLAN,
		MAC:       l.mac,
		MTU:       int(l.outlet.mtu.Load()),
		LAN:       true,
		Offloads:  takes(l.outlet.takes.Load()).names(),
		Off:       l.outlet.off(),
		Interface: l.device.name,
		Queues:    1,
		Drops:     l.outlet.drops.reasons(),
	}
}

// Close leaves the LAN.
func (l *LAN) Close() error {
	if !l.gate.close(func() { ring(l.queue.wake) }) {
		return net.ErrClosed
	}
	_ = unix.Close(l.queue.fd) // nothing is buffered that could be lost
	_ = unix.Close(l.queue.wake)
	l.device.close()
	return nil
}
