package store

import (
	"context"
	"maps"
	"sync"
	"time"
)

// again is how soon a write that failed is tried once more, so that a disk which was full gets what it missed. It is as
// long as a person needs to make room; a newer value does not wait for it.
const again = 10 * time.Second

// Writer puts values into a store behind the back of whoever has them, who never waits for the disk. Of several values for
// one key the last is written. What waits is written in one transaction, at once, so that the disk always shows a moment that
// was: a crash loses the last moments, never the middle.
type Writer struct {
	store  *Store
	report func(error) // told by Run when writing begins to fail, and nil when it works again
	news   chan struct{}
	ended  chan struct{} // closed when Run has ended

	mu      sync.Mutex // guards the following
	waiting map[place][]byte
	asked   uint64        // values put
	tried   uint64        // of them, how many were in a write that has ended
	err     error         // of that write
	next    chan struct{} // closed when the next write ends
}

// place is where a value belongs.
type place struct{ bucket, key string }

// NewWriter prepares a writer; Run writes.
func NewWriter(s *Store, report func(error)) *Writer {
	return &Writer{
		store: s, report: report, news: make(chan struct{}, 1), ended: make(chan struct{}),
		waiting: map[place][]byte{}, next: make(chan struct{}),
	}
}

// Put has a value written soon. value must not be changed any more.
func (w *Writer) Put(bucket, key string, value []byte) {
	w.mu.Lock()
	w.waiting[place{bucket, key}] = value
	w.asked++
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// Settle waits until all that was put before is written, or could not be.
func (w *Writer) Settle(ctx context.Context) error {
	w.mu.Lock()
	want := w.asked
	w.mu.Unlock()
	for {
		w.mu.Lock()
		tried, err, next := w.tried, w.err, w.next
		w.mu.Unlock()
		if tried >= want {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.ended:
			return ErrClosed
		}
	}
}

// Run writes until ctx ends, and then what is left.
func (w *Writer) Run(ctx context.Context) {
	defer close(w.ended)
	retry := time.NewTimer(again)
	defer retry.Stop()
	for {
		select {
		case <-w.news:
		case <-retry.C:
		case <-ctx.Done():
			w.write()
			return
		}
		w.write()
		retry.Reset(again)
	}
}

// write makes one transaction of what waits.
func (w *Writer) write() {
	w.mu.Lock()
	batch, upTo := w.waiting, w.asked
	w.waiting = map[place][]byte{}
	w.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := w.store.Update(func(tx Tx) error {
		for at, value := range batch {
			if err := tx.Put(at.bucket, at.key, value); err != nil {
				return err
			}
		}
		return nil
	})
	w.mu.Lock()
	if err != nil { // it waits again, but for what is newer
		maps.Copy(batch, w.waiting)
		w.waiting = batch
	}
	was := w.err
	w.tried, w.err = upTo, err
	close(w.next)
	w.next = make(chan struct{})
	w.mu.Unlock()
	if (err == nil) != (was == nil) {
		w.report(err)
	}
}
