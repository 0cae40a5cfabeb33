package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// both runs the same body over the file and over memory.
func both(t *testing.T, body func(t *testing.T, s *Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		s := Memory()
		defer s.Close()
		body(t, s)
	})
	t.Run("file", func(t *testing.T) {
		s, err := Open(filepath.Join(t.TempDir(), "state", "vnet.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		body(t, s)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content writes a bucket out as "k=v k=v".
func content(t *testing.T, s *Store, bucket string) string {
	t.Helper()
	var all []string
	must(t, s.Each(bucket, func(k string, v []byte) error {
		all = append(all, k+"="+string(v))
		return nil
	}))
	return strings.Join(all, " ")
}

func TestValues(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		if v, err := s.Get("b", "none"); v != nil || err != nil {
			t.Errorf("nothing there: %q, %v", v, err)
		}
		must(t, s.Delete("b", "none"))
		must(t, s.Put("b", "2", []byte("two")))
		must(t, s.Put("b", "1", []byte("one")))
		must(t, s.Put("b", "3", nil))
		must(t, s.Put("c", "1", []byte("other")))
		if got := content(t, s, "b"); got != "1=one 2=two 3=" {
			t.Errorf("bucket holds %q", got)
		}
		if v, err := s.Get("b", "3"); v == nil || len(v) != 0 || err != nil {
			t.Errorf("an empty value: %v, %v", v, err)
		}
		v, err := s.Get("b", "1")
		must(t, err)
		v[0] = 'X' // the caller's own copy
		must(t, s.Delete("b", "2"))
		if got := content(t, s, "b"); got != "1=one 3=" {
			t.Errorf("bucket holds %q", got)
		}
		for _, err := range []error{s.Put("", "k", nil), s.Put("b", "", nil)} {
			if err == nil {
				t.Error("stored under an empty name")
			}
		}
	})
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	stop := errors.New("stop")
	both(t, func(t *testing.T, s *Store) {
		must(t, s.Put("b", "k", []byte("old")))
		err := s.Update(func(tx Tx) error {
			must(t, tx.Put("b", "k", []byte("new")))
			must(t, tx.Put("b2", "k", []byte("new")))
			if got := tx.Get("b", "k"); string(got) != "new" {
				t.Errorf("a transaction does not see its own change: %q", got)
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		if got := content(t, s, "b") + content(t, s, "b2"); got != "k=old" {
			t.Errorf("after a failed transaction: %q", got)
		}
		err = s.View(func(tx Tx) error { return tx.Put("b", "k", nil) })
		if err == nil || !strings.Contains(err.Error(), "only reads") {
			t.Errorf("changed in a view: %v", err)
		}
	})
}

func TestChange(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					err := s.Change("b", "n", func(old []byte) ([]byte, error) { return append(old, 'x'), nil })
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if v, err := s.Get("b", "n"); len(v) != 20 || err != nil {
			t.Errorf("20 changes left %d, %v", len(v), err)
		}
		must(t, s.Change("b", "n", func([]byte) ([]byte, error) { return nil, nil }))
		if v, err := s.Get("b", "n"); v != nil || err != nil {
			t.Errorf("a nil result did not delete: %q, %v", v, err)
		}
	})
}

func TestAfterClose(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		must(t, s.Close())
		must(t, s.Close())
		if err := s.Put("b", "k", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("put: %v", err)
		}
		if _, err := s.Get("b", "k"); !errors.Is(err, ErrClosed) {
			t.Errorf("get: %v", err)
		}
	})
}

func TestFileSurvivesAndIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnet.db")
	s, err := Open(path)
	must(t, err)
	must(t, s.Put("b", "k", []byte("kept")))
	must(t, s.Close())
	s, err = Open(path)
	must(t, err)
	defer s.Close()
	if got := content(t, s, "b"); got != "k=kept" {
		t.Errorf("after reopening: %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// openTwiceEnv makes the test binary, run again, open the store it names and print the error.
const openTwiceEnv = "STORE_TEST_OPEN"

func TestSecondProcessIsToldWhoHasTheFile(t *testing.T) {
	if path := os.Getenv(openTwiceEnv); path != "" {
		_, err := Open(path)
		fmt.Println("second:", err)
		return
	}
	path := filepath.Join(t.TempDir(), "vnet.db")
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), openTwiceEnv+"="+path)
	out, err := cmd.Output()
	must(t, err)
	want := fmt.Sprintf("second: cannot open the store: %s is in use by ", path)
	if !strings.Contains(string(out), want) {
		t.Errorf("the second process says %q, want %q", out, want)
	}
	if who := holder(path); !strings.Contains(who, "process") {
		t.Errorf("holder is %q", who)
	}
}

// A file that is no store, whole or in part, is not opened, and who reads the error knows what to do.
func TestADamagedFileIsSaidToBeDamaged(t *testing.T) {
	for name, size := range map[string]int{"too short": 100, "one page": 4096, "several pages": 65536} {
		path := filepath.Join(t.TempDir(), "state.db")
		must(t, os.WriteFile(path, []byte(strings.Repeat("no store ", size/9+1)[:size]), 0o600))
		s, err := Open(path)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "it is damaged, or was not written by vnet") || !strings.Contains(err.Error(), "vnet restore FILE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLockOwner(t *testing.T) {
	const locks = `1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128
2: FLOCK  ADVISORY  WRITE 2001 08:01:7864554 0 EOF
2: -> FLOCK  ADVISORY  WRITE 2002 08:01:7864555 0 EOF
3: FLOCK  ADVISORY  WRITE 0 08:01:7864556 0 EOF
`
	for inode, want := range map[uint64]string{7864554: "2001", 7864448: "", 7864555: "", 7864556: "", 54: ""} {
		if got := lockOwner(strings.NewReader(locks), inode); got != want {
			t.Errorf("inode %d is held by %q, want %q", inode, got, want)
		}
	}
}
