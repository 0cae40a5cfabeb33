package link

// replayBits is how far behind the newest counter a datagram may arrive and still be told from a replay. Queues of network
// cards and the epochs of GRO reorder by hundreds of datagrams; 8,192 bits are 1 KiB a lane.
const replayBits = 8192

// replay is the window of one sender's lane. Counters run on across epochs, so one window serves the whole session.
type replay struct {
	top  uint64 // highest counter accepted
	bits [replayBits / 64]uint64
}

// fresh says whether a counter could still be accepted. It changes nothing: it is asked before the datagram is opened.
func (r *replay) fresh(c uint64) bool {
	switch {
	case c == 0:
		return false
	case c > r.top:
		return true
	case r.top-c >= replayBits:
		return false
	}
	return r.bits[c%replayBits/64]&(1<<(c%64)) == 0
}

// accept marks the counter of an authenticated datagram; false means it has been seen, or is too old to tell.
func (r *replay) accept(c uint64) bool {
	if c == r.top+1 { // the next one, as nearly always
		r.top = c
		r.bits[c%replayBits/64] |= 1 << (c % 64)
		return true
	}
	if !r.fresh(c) {
		return false
	}
	if c > r.top {
		r.advance(c)
	}
	r.bits[c%replayBits/64] |= 1 << (c % 64)
	return true
}

// advance moves the window's top to c, clearing the words it newly covers. The word c lies in may hold live bits below c
// and stale ones above; the stale ones are those a full window ago, so they are cleared bit by bit.
func (r *replay) advance(c uint64) {
	if c-r.top >= replayBits {
		clear(r.bits[:])
		r.top = c
		return
	}
	for i := r.top + 1; i <= c; {
		if i%64 == 0 && c-i >= 63 {
			r.bits[i%replayBits/64] = 0
			i += 64
			continue
		}
		r.bits[i%replayBits/64] &^= 1 << (i % 64)
		i++
	}
	r.top = c
}
