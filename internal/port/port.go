package port

import (
	"errors"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// ErrGone is returned by Read and Write once the interface behind a port has been deleted. The port does not come
// back: close it, and open a new one when the interface exists again.
var ErrGone = errors.New("the interface is gone")

// Port is one door to Ethernet. After Close every call returns net.ErrClosed.
type Port interface {
	// Name returns what the user calls the port.
	Name() string
	// Queues returns how many queues there are; each wants one reader.
	Queues() int
	// Read waits for a packet on queue q, then takes all that wait already, up to the size of the batch. The
	// packets are valid until the next Read into the same batch. One goroutine at a time may read a queue.
	Read(q int, b *Batch) error
	// Write delivers packets and returns how many went whole. It never waits: what the port cannot take now is
	// dropped and counted in Info. What it does not take at all (an unfinished checksum, a super-frame) is
	// finished first. Any goroutine may write to any queue; the packets are unchanged when it returns, and
	// nobody else may use their bytes meanwhile. An error means that the port is closed or gone.
	Write(q int, pkts []ether.Packet) (int, error)
	// Info describes the port as it is now.
	Info() Info
	// Close ends waiting readers and gives the door back.
	Close() error
}

// Switcher is a port whose offloads can be chosen while it runs. All ports of this package are.
type Switcher interface {
	// SetOffloads chooses what the port takes and gives unfinished from now on: any of csum, tso4, tso6, uso. What
	// the kernel cannot do is left out; Info says what remains.
	SetOffloads(names []string) error
}

// The kinds of ports.
const (
	KindTAP    = "tap"    // a TAP device of our own: behind it is a VM or a namespace
	KindLAN    = "lan"    // an existing interface, shared with its host
	KindBridge = "bridge" // a TAP device of our own in an existing bridge
	KindQEMU   = "qemu"   // a socket that a guest of QEMU plugs its network card into
	KindMemory = "memory" // made of memory
)

// Info describes a port.
type Info struct {
	Kind      string
	MAC       ether.MAC         // of the interface; zero where it has none
	MTU       int               // bytes behind the Ethernet header and its tags; 0 where nobody says
	LAN       bool              // behind it is somebody's LAN, and not a VM of ours
	Offloads  []string          // what the port takes unfinished: csum, tso4, tso6, uso
	Off       map[string]string // which of these it does not, and why
	Interface string            // its name in the kernel, where QEMU plugs in, or "" for memory
	Queues    int
	Drops     map[string]uint64 // Ethernet frames lost here since the port was opened, by reason
}
