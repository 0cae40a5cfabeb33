package link

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// offloading is a socket whose offloads can be switched.
type offloading interface {
	// SetGSO switches sending several datagrams a call. Switching it on forgets an earlier refusal.
	SetGSO(on bool)
	// GSO says whether it is in use, and why not.
	GSO() (on bool, why string)
	// SetGRO switches receiving several datagrams as one.
	SetGRO(on bool)
	// GRO says whether it is in use, and why not.
	GRO() (on bool, why string)
}

// SetGSO switches UDP_SEGMENT of all sockets that have it, while running. Ready must have been closed, as for the others here.
func (e *Endpoint) SetGSO(on bool) {
	e.switchAll(func(s offloading) { s.SetGSO(on) })
	for _, s := range e.offloadingExtras() {
		s.SetGSO(on)
	}
}

// SetGRO switches UDP_GRO of all sockets that have it, while running.
func (e *Endpoint) SetGRO(on bool) { e.switchAll(func(s offloading) { s.SetGRO(on) }) }

// GSO says whether all sockets send several datagrams a call, and why not.
func (e *Endpoint) GSO() (on bool, why string) {
	on, why = e.allHave(offloading.GSO)
	for _, s := range e.offloadingExtras() {
		if !on {
			break
		}
		on, why = s.GSO()
	}
	return on, why
}

// GRO says whether all sockets receive several datagrams as one, and why not.
func (e *Endpoint) GRO() (on bool, why string) { return e.allHave(offloading.GRO) }

// offloadingExtras are the extra ports' sockets whose offloads can be switched.
func (e *Endpoint) offloadingExtras() (all []offloading) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.extras {
		if s, ok := p.sock.(offloading); ok {
			all = append(all, s)
		}
	}
	return all
}

// JoinUDP says whether the owner has use for UDP super-frames. Then datagrams of one flow that arrive in one batch are handed
// over as one, as the pieces of TCP always are; what travels on is cut again.
func (e *Endpoint) JoinUDP(on bool) { e.joinUDP.Store(on) }

func (e *Endpoint) switchAll(one func(offloading)) {
	for _, s := range e.sockets {
		if o, ok := s.(offloading); ok {
			one(o)
		}
	}
}

func (e *Endpoint) allHave(ask func(offloading) (bool, string)) (on bool, why string) {
	for _, s := range e.sockets {
		o, ok := s.(offloading)
		if !ok {
			return false, "this network has none"
		}
		if on, why = ask(o); !on {
			return false, why
		}
	}
	return on, why
}

// offload is work that a socket leaves to the kernel. Any goroutine may use it.
type offload struct {
	on  atomic.Bool
	why atomic.Pointer[string] // why not
}

func (o *offload) off(why string) {
	o.why.Store(&why)
	o.on.Store(false)
}

func (o *offload) use() {
	o.why.Store(nil)
	o.on.Store(true)
}

func (o *offload) state() (on bool, why string) {
	if w := o.why.Load(); w != nil {
		why = *w
	}
	return o.on.Load(), why
}

const whySwitched = "switched off"

// SetGSO switches UDP_SEGMENT while running, as far as the kernel has it.
func (s *udpSocket) SetGSO(on bool) {
	if !s.enter() {
		return
	}
	defer s.leave()
	switch _, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); {
	case err != nil:
		s.gso.off("not by this kernel: UDP_SEGMENT: " + err.Error())
	case on:
		s.gso.use()
	default:
		s.gso.off(whySwitched)
	}
}

// GSO says whether UDP_SEGMENT is in use, and why not.
func (s *udpSocket) GSO() (on bool, why string) { return s.gso.state() }

// unmarkedFor is how long after UDP_GRO was switched off there may still be datagrams in the socket that the kernel had put
// together; it hands them over without their size.
const unmarkedFor = time.Second

// SetGRO switches UDP_GRO while running, as far as the kernel has it.
func (s *udpSocket) SetGRO(on bool) {
	if !s.enter() {
		return
	}
	defer s.leave()
	value := 0
	if on {
		value = 1
	} else {
		s.unmarked.Store(time.Now().Add(unmarkedFor).UnixNano())
	}
	switch err := unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, value); {
	case err != nil:
		s.gro.off("not by this kernel: UDP_GRO: " + err.Error())
	case on:
		s.gro.use()
	default:
		s.gro.off(whySwitched)
	}
}

// GRO says whether UDP_GRO is in use, and why not.
func (s *udpSocket) GRO() (on bool, why string) { return s.gro.state() }

// remark finds the size of datagrams that were put together before UDP_GRO was switched off.
func (s *udpSocket) remark(bufs [][]byte, sizes, segs []int) {
	until := s.unmarked.Load()
	if until == 0 {
		return
	}
	if time.Now().UnixNano() > until {
		s.unmarked.CompareAndSwap(until, 0)
		return
	}
	for i, size := range sizes {
		if segs[i] == 0 {
			segs[i] = togetherSize(bufs[i][:size])
		}
	}
}

// togetherSize is the length of the first of several datagrams of ours back to back, 0 for one alone: those of one call differ
// in their headers by the counter, which counts up.
func togetherSize(b []byte) int {
	if len(b) < 2*headerLen || b[0] >= dgramLimit {
		return 0
	}
	next := [headerLen]byte(b)
	binary.BigEndian.PutUint64(next[8:], binary.BigEndian.Uint64(next[8:])+1)
	if i := bytes.Index(b[headerLen:], next[:]); i >= 0 {
		return headerLen + i
	}
	return 0
}

var _ offloading = (*udpSocket)(nil)
