package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A copy that is made while another writes shows one moment: the two values that every transaction writes are the same in it.
func TestACopyIsOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vnet.db")
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	write := func(i int) {
		must(t, s.Update(func(tx Tx) error {
			for _, bucket := range []string{"a", "b"} {
				for k := range 40 {
					if err := tx.Put(bucket, fmt.Sprint(k), fmt.Append(nil, i, strings.Repeat("x", i%3000))); err != nil {
						return err
					}
				}
			}
			return nil
		}))
	}
	write(0)
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			write(i)
		}
	})
	defer writing.Wait()
	defer cancel()
	for n := range 20 {
		to := filepath.Join(dir, fmt.Sprint("copy", n))
		must(t, Copy(path, to))
		if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the copy has mode %v, %v", info.Mode(), err)
		}
		c, err := Open(to)
		must(t, err)
		if a, b := content(t, c, "a"), content(t, c, "b"); a != b || a == "" {
			t.Errorf("copy %d is of two moments", n)
		}
		must(t, c.Close())
	}
	if err := Copy(path, filepath.Join(dir, "copy1")); err == nil {
		t.Error("a copy took the place of a file")
	}
	junk := filepath.Join(dir, "junk")
	must(t, os.WriteFile(junk, make([]byte, 20000), 0o600))
	if err := Copy(junk, filepath.Join(dir, "of junk")); err == nil {
		t.Error("what is no store was copied")
	}
}
