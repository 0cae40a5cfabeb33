package port

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

const (
	defaultMTU = 1500 // bytes, as Ethernet
	// defaultTxQueue is how many packets wait for us in the kernel before it drops: 500 super-frames are more
	// than any guest has in flight, and few enough that a guest notices a slow path.
	defaultTxQueue = 500
	// defaultGSOMax is the longest super-frame the kernel may give us, in bytes: cut into frames that fit a
	// datagram of 1,472 bytes, it is one send of 44 datagrams.
	defaultGSOMax = 60000
	// maxQueues is how many queues the kernel gives one TAP (MAX_TAP_QUEUES).
	maxQueues = 256
	tapFlags  = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
)

// TAPConfig says which TAP to make. Its zero value is a TAP with one queue named by the kernel.
type TAPConfig struct {
	Name      string    // what the user calls the port; "" = as the interface
	Interface string    // its name in the kernel; "" = Name
	Queues    int       // 0 = 1
	MTU       int       // bytes; 0 = 1500
	MAC       ether.MAC // of the kernel's side; zero = the kernel chooses
	TxQueue   int       // packets; 0 = 500
	Waiting   int       // bytes that may wait in a queue before long frames are turned away; 0 = 1.5 MiB
	GSOMax    int       // bytes of the longest super-frame; 0 = 60000
	Namespace string    // network namespace to make it in, a name or a path; "" = this one
	NoUSO     bool      // do not offer UDP segmentation
	NoTSO     bool      // do not offer any segmentation
	NoOffload bool      // nor partial checksums
}

func (c TAPConfig) withDefaults() (TAPConfig, error) {
	if c.Interface == "" {
		c.Interface = c.Name
	}
	if len(c.Interface) >= unix.IFNAMSIZ {
		return c, fmt.Errorf("cannot make a TAP named %q: the kernel takes at most %d bytes", c.Interface, unix.IFNAMSIZ-1)
	}
	if c.Queues < 0 || c.Queues > maxQueues {
		return c, fmt.Errorf("cannot make a TAP with %d queues: choose 1 to %d", c.Queues, maxQueues)
	}
	c.Queues = max(c.Queues, 1)
	if c.MTU == 0 {
		c.MTU = defaultMTU
	}
	if c.TxQueue == 0 {
		c.TxQueue = defaultTxQueue
	}
	if c.Waiting == 0 {
		c.Waiting = defaultQueueBytes
	}
	if c.GSOMax == 0 {
		c.GSOMax = defaultGSOMax
	}
	return c, nil
}

// offers returns what the configuration lets the kernel leave undone.
func (c TAPConfig) offers() takes {
	switch {
	case c.NoOffload:
		return 0
	case c.NoTSO:
		return takesChecksum
	case c.NoUSO:
		return takesAll &^ takesUSO
	}
	return takesAll
}

// tap is a TAP device, ours or handed over. Its queues are fixed when it is made.
type tap struct {
	name, iface, kind string
	mac               ether.MAC
	queues            []queue
	wake              int
	gate              *gate
	outlet            outlet
	device            placed
	ration            ration
}

// TAPFromFDs makes a port of TAP queues somebody else has opened with IFF_NO_PI and IFF_VNET_HDR, for an
// interface that may live in another network namespace. The port owns the descriptors from now on, unless there
// is an error. Where this user may not look into that namespace, the MTU is taken to be 1500; TAPFromFDsMTU says
// another.
func TAPFromFDs(name string, fds []int) (Port, error) { return TAPFromFDsMTU(name, fds, defaultMTU) }

// TAPFromFDsMTU is TAPFromFDs for an interface with another MTU.
func TAPFromFDsMTU(name string, fds []int, mtu int) (Port, error) {
	if len(fds) == 0 {
		return nil, fmt.Errorf("cannot make port %q: no descriptor was handed over", name)
	}
	iface := ""
	for _, fd := range fds {
		found, err := inspectQueue(fd)
		if err != nil {
			return nil, fmt.Errorf("cannot make port %q of descriptor %d: %w", name, fd, err)
		}
		if iface != "" && found != iface {
			return nil, fmt.Errorf("cannot make port %q: its queues belong to %q and to %q", name, iface, found)
		}
		iface = found
	}
	dev, err := deviceOf(fds[0], iface)
	if err == nil {
		var found int
		if found, err = dev.mtu(); err == nil {
			mtu = found
		}
	}
	t, err := newTAP(TAPConfig{Name: name, Interface: iface, MTU: mtu}, KindTAP, fds, dev)
	if err != nil {
		dev.close()
		return nil, err
	}
	forgetRation(fds[0])
	switch packets, err := dev.txQueue(); {
	case err != nil:
		t.ration.lacks = "not here: " + err.Error()
	case oneOfMany(fds[0]):
		t.ration.lacks = "not with several queues that were handed over: nobody says which is which"
	default:
		t.allot(defaultQueueBytes, packets)
	}
	return t, nil
}

// oneOfMany reports whether a queue's interface may have others.
func oneOfMany(fd int) bool {
	var r unix.Ifreq
	err := unix.IoctlIfreq(fd, unix.TUNGETIFF, &r)
	return err != nil || r.Uint16()&unix.IFF_MULTI_QUEUE != 0
}

// inspectQueue returns the name of the interface behind a TAP queue that suits us.
func inspectQueue(fd int) (string, error) {
	var r unix.Ifreq
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, &r); err != nil {
		return "", fmt.Errorf("it is no TAP queue: %w", err)
	}
	if flags := int(r.Uint16()); flags&tapFlags != tapFlags {
		return "", fmt.Errorf("interface %q must be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR, and has flags %#x", r.Name(), flags)
	}
	return r.Name(), nil
}

// newTAP makes a port of open queues, which it sets up.
func newTAP(c TAPConfig, kind string, fds []int, dev device) (*tap, error) {
	if c.Name == "" {
		c.Name = c.Interface
	}
	has, lacks := c.offers(), "left out by the configuration"
	for _, fd := range fds {
		able, refused, err := setUpQueue(fd, has)
		if err != nil {
			return nil, fmt.Errorf("cannot set up TAP %q: %w", c.Interface, err)
		}
		if has = able; refused != nil {
			lacks = "not by this kernel: TUNSETOFFLOAD: " + refused.Error()
		}
	}
	mac, _, err := readHardware(fds[0], c.Interface)
	if err != nil {
		return nil, err
	}
	wake, err := newWake()
	if err != nil {
		return nil, err
	}
	t := &tap{name: c.Name, iface: c.Interface, kind: kind, mac: mac, wake: wake, gate: newGate(), device: placed{at: dev}}
	for _, fd := range fds {
		t.queues = append(t.queues, queue{fd: fd, wake: wake})
	}
	t.outlet.door = t
	t.outlet.start(has, lacks, c.MTU)
	return t, nil
}

// allot bounds how much waits in each queue; they must be all there are, in the order in which they were opened.
func (t *tap) allot(bytes, packets int) {
	fds := make([]int, len(t.queues))
	for q := range t.queues {
		fds[q] = t.queues[q].fd
	}
	t.ration.set(fds, bytes, packets)
	for q := range t.queues {
		if k := &t.queues[q]; t.ration.of(q) != nil {
			k.reckoning.tally, k.look = t.ration.of(q), recount
		}
	}
}

// setUpQueue makes a queue non-blocking and tells the kernel what we take; it returns that set, smaller where
// the kernel is too old (USO needs Linux 6.2), and then what the kernel said.
func setUpQueue(fd int, offer takes) (able takes, refused, err error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return 0, nil, fmt.Errorf("cannot make it non-blocking: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, ether.OffloadLen); err != nil {
		return 0, nil, fmt.Errorf("cannot choose the length of marks: %w", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return 0, nil, fmt.Errorf("cannot choose the byte order of marks: %w", err)
	}
	for {
		err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunOffloads(offer))
		if err == nil {
			return offer, refused, nil
		}
		if offer&takesUSO == 0 {
			return 0, nil, fmt.Errorf("cannot choose offloads: %w", err)
		}
		offer, refused = offer&^takesUSO, err
	}
}

func tunOffloads(t takes) int {
	flags := 0
	if t&takesChecksum != 0 {
		flags |= unix.TUN_F_CSUM
	}
	if t&takesTSO4 != 0 {
		flags |= unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
	}
	if t&takesTSO6 != 0 {
		flags |= unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	}
	if t&takesUSO != 0 {
		flags |= unix.TUN_F_USO4 | unix.TUN_F_USO6
	}
	return flags
}

func (t *tap) Name() string { return t.name }

func (t *tap) Queues() int { return len(t.queues) }

func (t *tap) Read(q int, b *Batch) error {
	if !t.gate.enter() {
		return net.ErrClosed
	}
	defer t.gate.leave()
	return t.lifeError(t.queues[q].fill(b, receiveTAP))
}

// receiveTAP reads one packet: the kernel puts its marks in front of the frame.
func receiveTAP(k *queue, b *Batch) error {
	const marksAt = frameAt - ether.OffloadLen
	space := b.space()[marksAt:]
	n, _, errno := unix.Syscall(unix.SYS_READ, uintptr(k.fd), uintptr(unsafe.Pointer(&space[0])), uintptr(len(space)))
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR:
		return errno
	default:
		return meaning(errno)
	}
	if n < ether.OffloadLen+ether.HeaderLen {
		return nil
	}
	end := int(n)
	offload, err := ether.ParseOffload(space)
	if err != nil {
		return err
	}
	b.take(ether.Packet{Frame: space[ether.OffloadLen:end:end], Offload: offload}, marksAt+end)
	return nil
}

func (t *tap) Write(q int, pkts []ether.Packet) (int, error) {
	if !t.gate.enter() {
		return 0, net.ErrClosed
	}
	defer t.gate.leave()
	n, err := t.outlet.write(q, pkts)
	return n, t.lifeError(err)
}

func (t *tap) put(q int, p *ether.Packet) error {
	return meaning(writeMarked(t.queues[q].fd, p))
}

// lifeError names the interface in an error that ends the port.
func (t *tap) lifeError(err error) error {
	switch {
	case err == nil || errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, errDown): // a queue says so when its interface is being deleted
		err = ErrGone
	}
	return fmt.Errorf("cannot use TAP %q: %w", t.iface, err)
}

func (t *tap) refreshMTU() int {
	if mtu, err := t.device.mtu(t.queues[0].fd, t.iface); err == nil {
		t.outlet.mtu.Store(int64(mtu))
	}
	return int(t.outlet.mtu.Load())
}

func (t *tap) SetOffloads(names []string) error {
	if !t.gate.enter() {
		return net.ErrClosed
	}
	defer t.gate.leave()
	use, err := t.outlet.use(names)
	if err != nil {
		return err
	}
	t.ration.use(slices.Contains(names, offloadQueue))
	// The choice is the device's, not the queue's.
	if err := unix.IoctlSetInt(t.queues[0].fd, unix.TUNSETOFFLOAD, tunOffloads(use)); err != nil {
		return fmt.Errorf("cannot choose offloads of TAP %q: %w", t.iface, err)
	}
	return nil
}

// SetUnderlay leaves our own links out of what a bridge gives us. Ports of our own TAPs carry none.
func (t *tap) SetUnderlay(ours []netip.AddrPort) error {
	if t.kind != KindBridge {
		return nil
	}
	if !t.gate.enter() {
		return net.ErrClosed
	}
	defer t.gate.leave()
	return attachFilter(ours, func(program *unix.SockFprog) error { return attachTAP(t.queues[0].fd, program) })
}

func (t *tap) Info() Info {
	open := t.gate.enter()
	if open {
		defer t.gate.leave()
		t.refreshMTU()
	}
	i := Info{
		Kind:      t.kind,
		MAC:       t.mac,
		MTU:       int(t.outlet.mtu.Load()),
		LAN:       t.kind == KindBridge,
		Offloads:  takes(t.outlet.takes.Load()).names(),
		Off:       t.outlet.off(),
		Interface: t.iface,
		Queues:    len(t.queues),
		Drops:     t.outlet.drops.reasons(),
	}
	if open {
		if n, err := t.device.txQueue(); err == nil {
			t.ration.follow(n)
		}
		t.ration.describe(&i)
	}
	return i
}

func (t *tap) Close() error {
	if !t.gate.close(func() { ring(t.wake) }) {
		return net.ErrClosed
	}
	t.ration.close(t.queues[0].fd)
	for _, k := range t.queues {
		_ = unix.Close(k.fd) // nothing is buffered that could be lost
	}
	_ = unix.Close(t.wake)
	t.device.close()
	return nil
}
