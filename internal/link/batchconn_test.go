package link

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// countedConn is a connection made of memory that counts calls.
type countedConn struct {
	net.Conn
	written bytes.Buffer
	writes  int
	unread  []byte
	reads   int
}

func (c *countedConn) Write(b []byte) (int, error) { c.writes++; return c.written.Write(b) }

func (c *countedConn) Read(b []byte) (int, error) {
	c.reads++
	if len(c.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func TestManyRecordsAreOneCall(t *testing.T) {
	c := &countedConn{}
	w := &batchConn{Conn: c}
	w.Write([]byte("hello "))
	w.batch()
	for range 10 {
		w.Write([]byte("record "))
	}
	if c.writes != 1 {
		t.Errorf("%d calls before the flush", c.writes)
	}
	if err := w.flush(); err != nil || w.flush() != nil {
		t.Error(err)
	}
	w.Write([]byte("bye"))
	if w.try() {
		t.Error("a connection made of memory took something without a call")
	}
	w.flush()
	if want := "hello " + string(bytes.Repeat([]byte("record "), 10)) + "bye"; c.written.String() != want || c.writes != 3 {
		t.Errorf("%d calls wrote %q", c.writes, c.written.String())
	}
}

func TestReadAheadLosesNothing(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	c := &countedConn{unread: want}
	w := &batchConn{Conn: c}
	var got []byte
	small := make([]byte, 1000)
	n, err := w.Read(small)
	got = append(got, small[:n]...)
	if w.readAhead(); c.reads != 1 || err != nil {
		t.Errorf("%d reads, %v", c.reads, err)
	}
	for {
		n, err := w.Read(small)
		got = append(got, small[:n]...)
		if err == io.EOF {
			break
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes arrived changed")
	}
	if c.reads > 2+len(want)/batchRead+1 {
		t.Errorf("%d reads", c.reads)
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
	if next := nextLimit(limit, 1<<20, 20*time.Millisecond); next != limit/2 {
		t.Errorf("one slow write makes it %d", next)
	}
}

// TestASocketIsGivenWhatItSendsSoon: a peer that does not read makes try leave the rest, and flush brings it when it does.
func TestASocketIsGivenWhatItSendsSoon(t *testing.T) {
	l, err := Kernel{}.ListenTCP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := Kernel{}.DialTCP(t.Context(), addrPort(l.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	w := &batchConn{Conn: near}
	w.batch()
	w.bound(1)
	var want []byte
	for full := false; !full; {
		part := bytes.Repeat([]byte{byte(len(want) >> 15)}, 32<<10)
		want = append(want, part...)
		w.Write(part)
		full = !w.try()
	}
	got := make([]byte, len(want))
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(far, got)
		read <- err
	}()
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil || !bytes.Equal(got, want) {
		t.Errorf("the bytes arrived changed: %v", err)
	}
	near.Close()
	w.Write([]byte("late"))
	if w.try() || w.flush() == nil {
		t.Error("a closed connection took something")
	}
}
