package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// writer runs a writer until the function it returns is called.
func writer(s *Store, report func(error)) (*Writer, func()) {
	w := NewWriter(s, report)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	return w, func() { cancel(); running.Wait() }
}

func TestWriterWritesTheLastOfEachKey(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		w, end := writer(s, func(err error) { t.Error(err) })
		for i := range 100 {
			w.Put("b", fmt.Sprint(i%3), fmt.Append(nil, i))
		}
		must(t, w.Settle(t.Context()))
		if got := content(t, s, "b"); got != "0=99 1=97 2=98" {
			t.Errorf("settled: %s", got)
		}
		w.Put("b", "0", []byte("end"))
		end()
		if got := content(t, s, "b"); got != "0=end 1=97 2=98" {
			t.Errorf("after the end: %s", got)
		}
		w.Put("b", "0", []byte("late"))
		if err := w.Settle(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("a value that nobody writes any more settles with %v", err)
		}
	})
}

var errFull = errors.New("disk is full")

func TestWriterKeepsWhatADiskRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		s := Troubled(Memory(), func() error {
			if full.Load() {
				return errFull
			}
			return nil
		})
		var said []error
		w, end := writer(s, func(err error) { said = append(said, err) })
		defer end()
		for _, value := range []string{"1", "2"} {
			w.Put("b", "old", []byte("kept"))
			w.Put("b", "k", []byte(value))
			if err := w.Settle(t.Context()); !errors.Is(err, errFull) {
				t.Errorf("a full disk settles with %v", err)
			}
		}
		full.Store(false)
		time.Sleep(again)
		synctest.Wait()
		if got := content(t, s, "b"); got != "k=2 old=kept" {
			t.Errorf("once there is room: %s", got)
		}
		if len(said) != 2 || said[0] == nil || said[1] != nil {
			t.Errorf("reported %v, want the failure once and that it is over", said)
		}
	})
}
