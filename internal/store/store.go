// Package store keeps what a daemon must remember over a restart: small values under a key in a bucket, changed atomically.
//
// It does not know what the values mean, and it is not for counters or time series: every change is an fsync.
package store

import "errors"

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("cannot use the store: it is closed")

// Store is a set of buckets of values. It is safe for concurrent use; changes happen one after another.
type Store struct {
	engine engine
}

// engine is where the bytes are: a file, or memory.
type engine interface {
	update(f func(Tx) error) error
	view(f func(Tx) error) error
	close() error
}

// Tx is one transaction. It must not be used after the function it was given to returns. A bucket comes into being with
// its first key. Names of buckets and keys must not be empty.
type Tx = interface {
	// Get returns a copy of the value, nil when there is none. A value that was stored empty is empty, not nil.
	Get(bucket, key string) []byte
	Put(bucket, key string, value []byte) error
	// Delete is no error when there is nothing to delete.
	Delete(bucket, key string) error
	// Each calls f in the order of keys and stops at its first error, which it returns. f must not change the bucket.
	Each(bucket string, f func(key string, value []byte) error) error
}

// Update runs f in a transaction that takes effect as a whole when f returns nil, and not at all when it returns an error,
// which Update then returns.
func (s *Store) Update(f func(Tx) error) error { return s.engine.update(f) }

// View runs f in a transaction that sees one moment of the store; Put and Delete fail in it.
func (s *Store) View(f func(Tx) error) error { return s.engine.view(f) }

// Close lets go of the file. Closing twice is no error.
func (s *Store) Close() error { return s.engine.close() }

// Get returns a copy of a value, nil when there is none.
func (s *Store) Get(bucket, key string) (value []byte, err error) {
	err = s.View(func(tx Tx) error {
		value = tx.Get(bucket, key)
		return nil
	})
	return value, err
}

// Put stores one value.
func (s *Store) Put(bucket, key string, value []byte) error {
	return s.Update(func(tx Tx) error { return tx.Put(bucket, key, value) })
}

// Delete removes one value; it is no error when there is none.
func (s *Store) Delete(bucket, key string) error {
	return s.Update(func(tx Tx) error { return tx.Delete(bucket, key) })
}

// Each calls f for every value of a bucket in the order of keys, at one moment of the store.
func (s *Store) Each(bucket string, f func(key string, value []byte) error) error {
	return s.View(func(tx Tx) error { return tx.Each(bucket, f) })
}

// Change replaces one value by what f makes of it: old is nil when there is none, a nil result deletes. When f fails
// nothing changes and its error is returned.
func (s *Store) Change(bucket, key string, f func(old []byte) ([]byte, error)) error {
	return s.Update(func(tx Tx) error {
		value, err := f(tx.Get(bucket, key))
		switch {
		case err != nil:
			return err
		case value == nil:
			return tx.Delete(bucket, key)
		}
		return tx.Put(bucket, key, value)
	})
}

// clone copies a value, keeping nil and empty apart.
func clone(v []byte) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}
