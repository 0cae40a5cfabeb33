package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// connected are both ends of a connection of the kernel, the near one taken over.
func connected(t *testing.T) (near *streamSocket, far net.Conn) {
	t.Helper()
	l, err := Kernel{}.ListenTCP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := Kernel{}.DialTCP(t.Context(), addrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	if near, err = takeSocket(conn); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// TestASocketIsGivenWhatItSendsSoon: a peer that does not read makes Try leave the rest, and Write brings it when it does.
func TestASocketIsGivenWhatItSendsSoon(t *testing.T) {
	near, far := connected(t)
	defer far.Close()
	near.Bound(1)
	var want, rest []byte
	for len(rest) == 0 {
		part := bytes.Repeat([]byte{byte(len(want) >> 15)}, 32<<10)
		want = append(want, part...)
		n, err := near.Try(part)
		if err != nil {
			t.Fatal(err)
		}
		rest = part[n:]
	}
	got := make([]byte, len(want))
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(far, got)
		read <- err
	}()
	if n, err := near.Write(rest); err != nil || n != len(rest) {
		t.Fatal(n, err)
	}
	if err := <-read; err != nil || !bytes.Equal(got, want) {
		t.Errorf("the bytes arrived changed: %v", err)
	}
	near.Close()
	if _, err := near.Try([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
}

// TestClosingWakesWhoWaits: a reader in the kernel, one in the poller, and a writer whose peer does not read.
func TestClosingWakesWhoWaits(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		near, far := connected(t)
		near.pace = pace{quiet: quiet, since: time.Now()}
		ended := make(chan error, 2)
		go func() {
			_, err := near.Read(make([]byte, 1))
			ended <- err
		}()
		go func() {
			_, err := near.Write(make([]byte, 64<<20))
			ended <- err
		}()
		for near.users.Load() < 3 { // both are in the kernel, or about to be
			runtime.Gosched()
		}
		near.Close()
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("a closed connection read or wrote")
			}
		}
		far.Close()
	}
}

func TestTheOtherEndIsSeenToClose(t *testing.T) {
	near, far := connected(t)
	defer near.Close()
	far.Write([]byte("last"))
	far.Close()
	b := make([]byte, 100)
	if n, err := near.Read(b); err != nil || string(b[:n]) != "last" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if _, err := near.Read(b); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}
}

func TestAQueueIsWhatThePathCarries(t *testing.T) {
	limit := streamFirst
	for range 10 { // 64 KiB in 5 ms: 100 Mbit/s
		limit = nextLimit(limit, 64<<10, 5243*time.Microsecond)
	}
	if limit < 24<<10 || limit > 26<<10 {
		t.Errorf("%d bytes may wait for 100 Mbit/s", limit)
	}
	for range 10 {
		limit = nextLimit(limit, limit, 100*time.Microsecond)
	}
	if limit != streamMost {
		t.Errorf("%d bytes may wait for a path that takes all at once", limit)
	}
	if next := nextLimit(limit, 100, 20*time.Millisecond); next != limit { // a heartbeat, on a busy processor
		t.Errorf("one slow write of a few bytes takes the limit from %d to %d", limit, next)
	}
	if next := nextLimit(limit, 1<<20, 20*time.Millisecond); next != limit/2 {
		t.Errorf("one slow write makes it %d", next)
	}
}
