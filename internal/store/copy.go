package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// copyTries is how often a copy is made before it is given up: a daemon writes a few times a second at most, and a copy of
	// some MB takes milliseconds.
	copyTries = 20
	// copyPause is between two of them.
	copyPause = 50 * time.Millisecond
)

// Copy makes a new file, readable by its owner only, of the store in the file at path as it was at one moment. A daemon may have
// it open and go on changing it: a transaction of bbolt writes only where no older one's pages are, and then one of the two
// pages at the beginning, so a copy is whole if those are the same before and after.
func Copy(path, to string) error {
	for range copyTries {
		whole, err := copyOnce(path, to)
		if err != nil {
			os.Remove(to) // there may be none
			return fmt.Errorf("cannot copy the store %s: %w", path, err)
		}
		if whole {
			return nil
		}
		if err := os.Remove(to); err != nil {
			return err
		}
		time.Sleep(copyPause)
	}
	return fmt.Errorf("cannot copy the store %s: it never stands still; stop its daemon for the moment", path)
}

// copyOnce says whether what it copied is of one moment.
func copyOnce(path, to string) (whole bool, err error) {
	from, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer from.Close()
	before, err := heads(from)
	if err != nil {
		return false, err
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, from); err != nil {
		return false, err
	}
	after, err := heads(from)
	if err != nil || !bytes.Equal(before, after) {
		return false, err
	}
	if err := out.Sync(); err != nil {
		return false, err
	}
	return true, sound(to)
}

// heads are the two pages that say which transaction was the last.
func heads(f *os.File) ([]byte, error) {
	b := make([]byte, 2*os.Getpagesize())
	n, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// sound walks all of a store.
func sound(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var found []error
		for err := range tx.Check() {
			found = append(found, err)
		}
		return errors.Join(found...)
	})
}
