package forward

// hashed is a persistent hash table of pointers: a change copies one shard in shards and shares the rest, so that adding one
// to a million copies some ten kilobytes. The zero hashed is empty. Readers need no lock: what is published never changes.
//
// A writer changes a copy made by edit, and only that.
type hashed[K comparable, V interface {
	comparable
	key() K
}] struct {
	top *[shards]*shard[V]
}

// shards is how many parts a table is cut into: 8 KiB of pointers, which every change copies, and a thousand entries to a
// shard at a million.
const shards = 1024

// shard is one open-addressed table, at most half full.
type shard[V comparable] struct {
	slots []slot[V] // a power of two
	used  int
}

type slot[V comparable] struct {
	hash  uint64
	value V // zero = free
}

func (s *slot[V]) free() bool {
	var none V
	return s.value == none
}

// get finds the entry with that key.
func (t *hashed[K, V]) get(hash uint64, k K) (none V) {
	if t.top == nil {
		return none
	}
	s := t.top[hash%shards]
	if s == nil {
		return none
	}
	mask := uint64(len(s.slots) - 1)
	for i := hash / shards & mask; ; i = (i + 1) & mask {
		at := &s.slots[i]
		if at.free() {
			return none
		}
		if at.hash == hash && at.value.key() == k {
			return at.value
		}
	}
}

// each calls f with every entry, in no order, until it says false.
func (t *hashed[K, V]) each(f func(V) bool) {
	if t.top == nil {
		return
	}
	for _, s := range t.top {
		if s == nil {
			continue
		}
		for _, at := range s.slots {
			if !at.free() && !f(at.value) {
				return
			}
		}
	}
}

// editor changes a copy of a table; shards are copied when first touched.
type editor[K comparable, V interface {
	comparable
	key() K
}] struct {
	hashed[K, V]
	own [shards / 64]uint64 // bit set: the shard is this editor's
}

func (t hashed[K, V]) edit() *editor[K, V] {
	e := &editor[K, V]{hashed: hashed[K, V]{top: new([shards]*shard[V])}}
	if t.top != nil {
		*e.top = *t.top
	}
	return e
}

// shard is the editor's own copy of the shard of hash, with room for one more.
func (e *editor[K, V]) shard(hash uint64) *shard[V] {
	n := hash % shards
	s := e.top[n]
	size := 2
	if s != nil {
		size = len(s.slots)
	}
	own := e.own[n/64]&(1<<(n%64)) != 0
	grow := s != nil && 2*(s.used+1) > size
	switch {
	case own && !grow:
		return s
	case s == nil:
		s = &shard[V]{slots: make([]slot[V], size)}
	case grow:
		s = s.resized(2 * size)
	default:
		s = &shard[V]{slots: append([]slot[V](nil), s.slots...), used: s.used}
	}
	e.own[n/64] |= 1 << (n % 64)
	e.top[n] = s
	return s
}

// put adds the entry, or replaces the one with its key.
func (e *editor[K, V]) put(hash uint64, v V) {
	s := e.shard(hash)
	mask := uint64(len(s.slots) - 1)
	i := hash / shards & mask
	for ; !s.slots[i].free(); i = (i + 1) & mask {
		if s.slots[i].hash == hash && s.slots[i].value.key() == v.key() {
			s.slots[i].value = v
			return
		}
	}
	s.slots[i] = slot[V]{hash: hash, value: v}
	s.used++
}

// remove takes the entry with that key out; it must be there.
func (e *editor[K, V]) remove(hash uint64, k K) {
	s := e.shard(hash)
	mask := uint64(len(s.slots) - 1)
	i := hash / shards & mask
	for s.slots[i].hash != hash || s.slots[i].value.key() != k {
		i = (i + 1) & mask
	}
	s.used--
	// Close the gap, so that no search ends early: whatever follows and may live here moves up.
	for j := (i + 1) & mask; !s.slots[j].free(); j = (j + 1) & mask {
		home := s.slots[j].hash / shards & mask
		if (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = slot[V]{}
}

func (s *shard[V]) resized(size int) *shard[V] {
	bigger := &shard[V]{slots: make([]slot[V], size), used: s.used}
	mask := uint64(size - 1)
	for _, at := range s.slots {
		if !at.free() {
			i := at.hash / shards & mask
			for !bigger.slots[i].free() {
				i = (i + 1) & mask
			}
			bigger.slots[i] = at
		}
	}
	return bigger
}
