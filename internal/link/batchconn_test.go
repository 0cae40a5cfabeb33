package link

import (
	"bytes"
	"io"
	"net"
	"testing"
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
	w.begin()
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
