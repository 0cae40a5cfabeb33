package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lockWait is how long Open waits for another process to let go of the file: a daemon that is being restarted needs less,
// and a person who started it twice should not wait.
const lockWait = time.Second

// Open opens the store in the file at path, making it, readable by its owner only, when there is none. One process can
// have it open; the error of the second names the first.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:      lockWait,
		FreelistType: bbolt.FreelistMapType, // the array type slows down a file that was once large
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("cannot open the store: %s is in use by %s", path, holder(path))
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch), damaged(err):
		return nil, fmt.Errorf("cannot open the store %s: it is damaged, or was not written by vnet (%w); move %s away, then go back to a backup: vnet restore FILE; or join again: vnet join TOKEN", path, err, filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("cannot open the store %s: %w", path, err)
	}
	return &Store{engine: boltEngine{db}}, nil
}

// damaged says that a file is shorter than a store can be; bbolt has no error of its own for that.
func damaged(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "file size too small")
}

type boltEngine struct{ db *bbolt.DB }

func (e boltEngine) update(f func(Tx) error) error {
	return closed(e.db.Update(func(tx *bbolt.Tx) error { return f(boltTx{tx}) }))
}

func (e boltEngine) view(f func(Tx) error) error {
	return closed(e.db.View(func(tx *bbolt.Tx) error { return f(boltTx{tx}) }))
}

func (e boltEngine) close() error { return e.db.Close() }

func closed(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

type boltTx struct{ tx *bbolt.Tx }

func (t boltTx) Get(bucket, key string) []byte {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return clone(b.Get([]byte(key)))
}

func (t boltTx) Put(bucket, key string, value []byte) error {
	if !t.tx.Writable() {
		return errReadOnly(bucket, key)
	}
	b, err := t.tx.CreateBucketIfNotExists([]byte(bucket))
	if err == nil {
		err = b.Put([]byte(key), value)
	}
	if err != nil {
		return fmt.Errorf("cannot store %s/%s: %w", bucket, key, err)
	}
	return nil
}

func (t boltTx) Delete(bucket, key string) error {
	if !t.tx.Writable() {
		return errReadOnly(bucket, key)
	}
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	if err := b.Delete([]byte(key)); err != nil {
		return fmt.Errorf("cannot delete %s/%s: %w", bucket, key, err)
	}
	return nil
}

func (t boltTx) Each(bucket string, f func(key string, value []byte) error) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error { return f(string(k), clone(v)) })
}

func errReadOnly(bucket, key string) error {
	return fmt.Errorf("cannot change %s/%s: the transaction only reads", bucket, key)
}
