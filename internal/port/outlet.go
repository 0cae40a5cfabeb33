package port

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// takes is a set of what a door takes unfinished.
type takes uint32

const (
	takesChecksum takes = 1 << iota
	takesTSO4
	takesTSO6
	takesUSO
	takesAll   = takesChecksum | takesTSO4 | takesTSO6 | takesUSO
	takesCount = 4
)

func (t takes) names() []string {
	var names []string
	for i, name := range []string{"csum", "tso4", "tso6", "uso"} {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// parseTakes reads what names returns.
func parseTakes(names []string) (takes, error) {
	var t takes
	for _, name := range names {
		if name == offloadQueue { // a TAP's own, which no frame needs
			continue
		}
		i := slices.Index(takesAll.names(), name)
		if i < 0 {
			return 0, fmt.Errorf("cannot use offload %q: there are %v", name, takesAll.names())
		}
		t |= 1 << i
	}
	if t != 0 && t&takesChecksum == 0 {
		return 0, errors.New("cannot use segmentation without csum: the pieces of a super-frame have unfinished checksums")
	}
	return t, nil
}

// maxDatagrams is how many datagrams a UDP super-frame may have: UDP_MAX_SEGMENTS before Linux 6.9.
const maxDatagrams = 64

// door is one way for frames to leave. put returns nil, or one of the errors below, or one that ends the port.
type door interface {
	put(q int, p *ether.Packet) error
	// refreshMTU asks the interface for its MTU anew.
	refreshMTU() int
}

// What a door may say to a packet without ending the port.
var (
	errFull    = errors.New("full")
	errLong    = errors.New("too long")
	errDown    = errors.New("down")
	errRefused = errors.New("refused")
	// errOffload is what a kernel says to marks it does not know, or knows and gets wrong: some versions do.
	errOffload = errors.New("refused with these marks")
)

// refusal is errOffload in the kernel's own words.
type refusal syscall.Errno

func (r refusal) Error() string { return "refused when writing: " + syscall.Errno(r).Error() }

func (r refusal) Is(target error) bool { return target == errOffload }

// Why an offload that a port could use is off.
const (
	whySwitched = "switched off"
	whyChecksum = "it needs csum"
)

// outlet makes of packets what its door takes. Any goroutine may use it.
type outlet struct {
	door  door
	able  takes                              // what the kernel said at the start; fixed
	lacks string                             // why the rest is not in able; fixed
	mtu   atomic.Int64                       // bytes; 0 = not known, nothing is too long
	takes atomic.Uint32                      // a set of takes, part of able; shrinks when the kernel refuses one
	why   [takesCount]atomic.Pointer[string] // of what is in able and not in takes, in the order of the bits
	drops drops
	pool  sync.Pool // of *cutter
}

// start sets what the door can take, all of which is used from now on, and why it cannot take the rest.
func (o *outlet) start(able takes, lacks string, mtu int) {
	o.able, o.lacks = able, lacks
	o.takes.Store(uint32(able))
	o.mtu.Store(int64(mtu))
}

// use makes the outlet use these offloads, as far as the door can, and returns which.
func (o *outlet) use(names []string) (takes, error) {
	t, err := parseTakes(names)
	if err != nil {
		return 0, err
	}
	for i := range o.why {
		why := whySwitched
		if t&takesChecksum == 0 && takes(1<<i) != takesChecksum {
			why = whyChecksum
		}
		o.why[i].Store(&why)
	}
	t &= o.able
	o.takes.Store(uint32(t))
	return t, nil
}

// off returns what is not in use, and why.
func (o *outlet) off() map[string]string {
	off := make(map[string]string)
	has := takes(o.takes.Load())
	for i, name := range takesAll.names() {
		switch bit := takes(1 << i); {
		case has&bit != 0:
		case o.able&bit == 0:
			off[name] = o.lacks
		default:
			off[name] = whySwitched
			if why := o.why[i].Load(); why != nil {
				off[name] = *why
			}
		}
	}
	return off
}

// write delivers packets to queue q and returns how many went whole.
func (o *outlet) write(q int, pkts []ether.Packet) (int, error) {
	n := 0
	for i := range pkts {
		p := &pkts[i]
		var err error
		if o.takesWhole(p) {
			if err = o.door.put(q, p); errors.Is(err, errOffload) && o.blame(p, err) {
				err = o.finish(q, p)
			}
		} else {
			err = o.finish(q, p)
		}
		switch {
		case err == nil:
			n++
		case errors.Is(err, errCut): // pieces are counted one by one
		case !o.drop(err, p.Frames()):
			return n, err
		}
	}
	return n, nil
}

// drop counts what err means, or returns false where it ends the port.
func (o *outlet) drop(err error, frames int) bool {
	switch {
	case errors.Is(err, errFull):
		o.drops.add(dropFull, frames)
	case errors.Is(err, errLong):
		o.drops.add(dropLong, frames)
	case errors.Is(err, errDown):
		o.drops.add(dropDown, frames)
	case errors.Is(err, errRefused), errors.Is(err, errOffload):
		o.drops.add(dropRefused, frames)
	case errors.Is(err, errMarks):
		o.drops.add(dropMarks, frames)
	case errors.Is(err, errShort):
		o.drops.add(dropShort, frames)
	default:
		return false
	}
	return true
}

// takesWhole reports whether the door takes the packet just as it is.
func (o *outlet) takesWhole(p *ether.Packet) bool {
	if !p.Frame.Valid() {
		return false
	}
	if p.Offload == (ether.Offload{}) {
		return o.fits(p.Frame, len(p.Frame))
	}
	has := takes(o.takes.Load())
	if !p.Offload.Segmented() {
		return has&takesChecksum != 0 && o.fits(p.Frame, len(p.Frame)) && !p.Frame.DHCP()
	}
	switch need := needs(p.Offload); {
	case need == 0 || has&need == 0 || has&takesChecksum == 0:
		return false
	case need == takesUSO && (p.Frames() > maxDatagrams || p.Frame.DHCP()):
		return false
	}
	return o.fits(p.Frame, p.PieceLen())
}

// needs returns what a door must take to get this super-frame whole, or 0 for one of no known type.
func needs(o ether.Offload) takes {
	switch o.Type() {
	case ether.GSOTCPv4:
		return takesTSO4
	case ether.GSOTCPv6:
		return takesTSO6
	case ether.GSOUDP:
		return takesUSO
	}
	return 0
}

// fits reports whether a frame with these headers and this length is within the MTU.
func (o *outlet) fits(f ether.Frame, length int) bool {
	mtu := int(o.mtu.Load())
	if mtu == 0 || length <= mtu+ether.HeaderLen {
		return true
	}
	payload := length - f.L3()
	return payload <= mtu || payload <= o.door.refreshMTU()
}

// blame is asked after the kernel has refused a packet: are the marks to blame, then that offload is used no more
// and the packet may be tried again without; or the packet itself?
func (o *outlet) blame(p *ether.Packet, refused error) bool {
	c := *p
	if c.Offload == (ether.Offload{}) || c.Check() != nil {
		return false
	}
	guilty := needs(p.Offload)
	if guilty == 0 {
		guilty = takesAll
	}
	why := refused.Error()
	for i := range o.why {
		if guilty&(1<<i) != 0 {
			o.why[i].Store(&why)
		}
	}
	o.takes.And(^uint32(guilty))
	return true
}
