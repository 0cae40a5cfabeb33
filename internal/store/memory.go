package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Memory is a store that forgets everything with the process: for tests, and for daemons that must not touch the disk.
func Memory() *Store { return &Store{engine: &memEngine{buckets: map[string]map[string][]byte{}}} }

type memEngine struct {
	mu      sync.RWMutex                 // guards the rest
	buckets map[string]map[string][]byte // a bucket's map is never changed once it is here; values neither
	closed  bool
}

func (e *memEngine) update(f func(Tx) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	tx := memTx{buckets: maps.Clone(e.buckets), fresh: map[string]bool{}}
	if err := f(tx); err != nil {
		return err
	}
	e.buckets = tx.buckets
	return nil
}

func (e *memEngine) view(f func(Tx) error) error {
	e.mu.RLock()
	buckets, closed := e.buckets, e.closed
	e.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	return f(memTx{buckets: buckets})
}

func (e *memEngine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

type memTx struct {
	buckets map[string]map[string][]byte
	fresh   map[string]bool // buckets whose map belongs to this transaction; nil: the transaction only reads
}

func (t memTx) Get(bucket, key string) []byte { return clone(t.buckets[bucket][key]) }

func (t memTx) Put(bucket, key string, value []byte) error {
	if bucket == "" || key == "" {
		return fmt.Errorf("cannot store %s/%s: %w", bucket, key, errors.New("names must not be empty"))
	}
	b, err := t.own(bucket, key)
	if err != nil {
		return err
	}
	b[key] = append([]byte{}, value...)
	return nil
}

func (t memTx) Delete(bucket, key string) error {
	b, err := t.own(bucket, key)
	if err != nil {
		return err
	}
	delete(b, key)
	return nil
}

// own gives this transaction its copy of a bucket.
func (t memTx) own(bucket, key string) (map[string][]byte, error) {
	if t.fresh == nil {
		return nil, errReadOnly(bucket, key)
	}
	if !t.fresh[bucket] {
		b := maps.Clone(t.buckets[bucket])
		if b == nil {
			b = map[string][]byte{}
		}
		t.buckets[bucket], t.fresh[bucket] = b, true
	}
	return t.buckets[bucket], nil
}

func (t memTx) Each(bucket string, f func(key string, value []byte) error) error {
	b := t.buckets[bucket]
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if err := f(key, clone(b[key])); err != nil {
			return err
		}
	}
	return nil
}
