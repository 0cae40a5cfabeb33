package port

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ration keeps short, in bytes, what waits for us in the queues of a TAP, which the kernel counts in packets only: 500 of them are 32 kB of small
// frames or 30 MB of super-frames. Any goroutine may use it.
type ration struct {
	shared  []byte // tallies, or nil for no bound
	tallies []tally
	bytes   uint64 // of each queue, while it is on; fixed
	lacks   string // why there is none; fixed
	off     atomic.Bool
}

// set begins to bound the queues of a TAP. They are all it has, in the order in which they were opened: so the kernel numbers them.
func (r *ration) set(queues []int, bytes, places int) {
	program, shared, err := loadRation(len(queues))
	switch {
	case errors.Is(err, unix.EPERM):
		r.lacks = "this needs CAP_BPF on the machine itself, not in a user namespace"
		return
	case err != nil:
		r.lacks = "not by this kernel: " + err.Error()
		return
	}
	defer unix.Close(program) // the TAP keeps it
	tallies := unsafe.Slice((*tally)(unsafe.Pointer(&shared[0])), len(queues))
	for i := range tallies {
		tallies[i].maxBytes, tallies[i].maxPackets = uint64(bytes), fits(places)
	}
	if err := unix.IoctlSetPointerInt(queues[0], unix.TUNSETFILTEREBPF, program); err != nil {
		r.lacks = fmt.Sprintf("not by this kernel: TUNSETFILTEREBPF: %v", err)
		_ = unix.Munmap(shared)
		return
	}
	r.shared, r.tallies, r.bytes = shared, tallies, uint64(bytes)
}

// forgetRation takes away what bounds the queues of a TAP, by any of them: the program of a daemon that has ended would go on counting in, with
// nobody to count out. It needs no privilege.
func forgetRation(queue int) {
	_ = unix.IoctlSetPointerInt(queue, unix.TUNSETFILTEREBPF, -1) // a kernel that has no such programs has none to forget
}

// of is the tally of a queue, or nil.
func (r *ration) of(q int) *tally {
	if r.tallies == nil {
		return nil
	}
	return &r.tallies[q]
}

// use switches the bound, as far as there is one.
func (r *ration) use(on bool) {
	r.off.Store(!on)
	most := uint64(unbounded)
	if on {
		most = r.bytes
	}
	for i := range r.tallies {
		atomic.StoreUint64(&r.tallies[i].maxBytes, most)
	}
}

// follow sets how many packets may wait: as many as there is room for in the kernel's ring, whose length its owner may change.
func (r *ration) follow(places int) {
	for i := range r.tallies {
		atomic.StoreUint64(&r.tallies[i].maxPackets, fits(places))
	}
}

// turned is how many Ethernet frames the kernel has turned away.
func (r *ration) turned() (frames uint64) {
	for i := range r.tallies {
		frames += atomic.LoadUint64(&r.tallies[i].turned)
	}
	return frames
}

// describe adds the ration to what the port leaves to the kernel, or to what it does not.
func (r *ration) describe(i *Info) {
	switch {
	case r.tallies == nil:
		i.Off[offloadQueue] = r.lacks
	case r.off.Load():
		i.Off[offloadQueue] = whySwitched
	default:
		i.Offloads = append(slices.Clip(i.Offloads), offloadQueue)
	}
	if n := r.turned(); n > 0 {
		i.Drops[dropWaiting.String()] += n
	}
}

// close ends the bound, which the TAP may outlive, and gives the memory back; the readers must have left.
func (r *ration) close(queue int) {
	if r.shared != nil {
		forgetRation(queue)
		_ = unix.Munmap(r.shared)
	}
}
