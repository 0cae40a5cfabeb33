package link

// inbound holds the keys of the peer's direction: the newest epoch the peer has proved, the one before it for stragglers,
// and the one after it. Nothing else is ever tried, so a stranger cannot make us derive keys.
//
// Readers see it whole and never changed; who changes it makes another.
type inbound struct {
	prev, cur, next *epochKey // prev is nil in epoch 0
}

func newInbound(first *epochKey) (inbound, error) {
	next, err := first.next()
	return inbound{cur: first, next: next}, err
}

// key is the key a header's epoch byte can mean; nil when it means none of the three.
func (in *inbound) key(epoch uint8) *epochKey {
	switch {
	case epoch == uint8(in.cur.epoch):
		return in.cur
	case epoch == uint8(in.next.epoch):
		return in.next
	case in.prev != nil && epoch == uint8(in.prev.epoch):
		return in.prev
	}
	return nil
}

// slides tells whether datagrams may be decrypted to memory in front of them that overlaps them.
func (in *inbound) slides() bool { return in.cur.slides }

// used is told each key that opened a datagram. The peer having moved on, so do we; the epoch before the last is forgotten.
func (in *inbound) used(k *epochKey) error {
	if k != in.next {
		return nil
	}
	next, err := k.next()
	if err != nil {
		return err
	}
	in.prev, in.cur, in.next = in.cur, k, next
	return nil
}

// advance takes note that the peer has used a key of the epoch after the newest.
func (l *Link) advance(k *epochKey) error {
	rx := &l.rx
	rx.epochs.Lock()
	defer rx.epochs.Unlock()
	in := *rx.keys.Load()
	if err := in.used(k); err != nil {
		return err
	}
	rx.keys.Store(&in)
	l.peers.inEpoch.Store(in.cur.epoch)
	return nil
}
