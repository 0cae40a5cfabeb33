package simnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// connect returns both ends of a TCP connection from host 1 to host 2.
func connect(t *testing.T, n *Net) (near, far net.Conn) {
	t.Helper()
	l, err := n.Host(addr(2)).ListenTCP(at(2, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = n.Host(addr(1)).DialTCP(t.Context(), l.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if near.LocalAddr().String() != far.RemoteAddr().String() || near.RemoteAddr().String() != far.LocalAddr().String() {
		t.Fatalf("%v-%v and %v-%v", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
	}
	return near, far
}

func TestStreamObeysThePath(t *testing.T) {
	for _, tc := range []struct {
		name        string
		path        wan.Path
		bytes       int
		least, most time.Duration // dial and transfer
	}{
		{"delay alone", wan.Path{Delay: 5 * ms}, 1, 15 * ms, 15 * ms},
		{"nothing", wan.Path{}, 1 << 20, 0, 0},
		{"rate", wan.Path{Rate: 8_000_000, Delay: ms}, 1_000_000, 1027 * ms, 1032 * ms},
		{"loss", wan.Path{Loss: 0.1, Delay: ms}, 100_000, 5 * ms, time.Second},
		{"jitter that reorders", wan.Path{Delay: ms, Jitter: 5 * ms, Reorder: true}, 300_000, 3 * ms, time.Second},
		// Who runs first at one instant, the reader that opens the window or the writer, costs half a round trip.
		{"a window", wan.Path{Delay: 100 * ms}, 3 * receiveWindow, 500 * ms, 601 * ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(3)
				n.SetDefault(tc.path)
				start := time.Now()
				near, far := connect(t, n)
				data := make([]byte, tc.bytes)
				for i := range data {
					data[i] = byte(i * 7 >> 3)
				}
				go func() {
					if _, err := near.Write(data); err != nil {
						t.Error(err)
					}
					near.Close()
				}()
				got, err := io.ReadAll(far)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("got %d bytes of %d, %v", len(got), len(data), err)
				}
				if took := time.Since(start); took < tc.least || took > tc.most {
					t.Errorf("took %v, want %v to %v", took, tc.least, tc.most)
				}
				far.Close()
				time.Sleep(time.Minute)
				if len(n.conns) != 0 {
					t.Errorf("%d ends are not forgotten", len(n.conns))
				}
			})
		})
	}
}

func TestCutStallsAndHealGoesOn(t *testing.T) {
	for _, cut := range []func(*Net){
		func(n *Net) { n.Cut(addr(1), addr(2)) },
		func(n *Net) { n.CutOneWay(addr(1), addr(2)) },
		func(n *Net) { n.CutOneWay(addr(2), addr(1)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			n := New(1)
			n.SetDefault(wan.Path{Delay: ms})
			near, far := connect(t, n)
			cut(n)
			if _, err := near.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Hour, func() { n.Heal(addr(1), addr(2)) })
			start := time.Now()
			if _, err := io.ReadFull(far, make([]byte, 5)); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != time.Hour+ms {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		near, far := connect(t, n)
		start := time.Now()
		near.SetReadDeadline(start.Add(50 * ms))
		_, err := near.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != 50*ms {
			t.Errorf("read: %v after %v", err, time.Since(start))
		}
		n.Cut(addr(1), addr(2))
		near.SetDeadline(time.Now().Add(50 * ms))
		if wrote, err := near.Write(make([]byte, sendBuffer+1)); wrote != sendBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", wrote, err)
		}
		near.SetDeadline(time.Time{})
		n.Heal(addr(1), addr(2))
		if _, err := io.ReadFull(far, make([]byte, sendBuffer)); err != nil {
			t.Error(err)
		}
		time.AfterFunc(ms, func() { near.SetReadDeadline(time.Unix(1, 0)) }) // as a waiting reader is woken
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("woken: %v", err)
		}
	})
}

func TestDial(t *testing.T) {
	for _, tc := range []struct {
		name  string
		world func(*Net)
		want  error
		took  time.Duration
	}{
		{"nobody listens", func(n *Net) { n.Host(addr(2)) }, syscall.ECONNREFUSED, 10 * ms},
		{"no such host", func(*Net) {}, context.DeadlineExceeded, 10 * time.Second},
		{"cut", func(n *Net) { listen(n); n.Cut(addr(1), addr(2)) }, context.DeadlineExceeded, 10 * time.Second},
		{"healed", func(n *Net) {
			listen(n)
			n.Cut(addr(1), addr(2))
			time.AfterFunc(1500*ms, func() { n.Heal(addr(1), addr(2)) })
		}, nil, 2010 * ms},
		{"only the answer is lost", func(n *Net) {
			listen(n)
			n.CutOneWay(addr(2), addr(1))
			time.AfterFunc(1500*ms, func() { n.Heal(addr(1), addr(2)) })
		}, nil, 2010 * ms},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				n.SetDefault(wan.Path{Delay: 5 * ms})
				tc.world(n)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				_, err := n.Host(addr(1)).DialTCP(ctx, at(2, 80))
				if !errors.Is(err, tc.want) || time.Since(start) != tc.took {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(start), tc.want, tc.took)
				}
			})
		})
	}
}

func listen(n *Net) { _, _ = n.Host(addr(2)).ListenTCP(at(2, 80)) }

func TestEndsOfAConnection(t *testing.T) {
	hello := []byte("hello")
	for _, tc := range []struct {
		name string
		act  func(n *Net, near, far net.Conn) error // returns what near saw
		want error
	}{
		{"half closed", func(_ *Net, near, far net.Conn) error {
			near.(interface{ CloseWrite() error }).CloseWrite()
			io.ReadAll(far)
			far.Write(hello)
			_, err := io.ReadFull(near, make([]byte, 5))
			return err
		}, nil},
		{"write after CloseWrite", func(_ *Net, near, _ net.Conn) error {
			near.(interface{ CloseWrite() error }).CloseWrite()
			_, err := near.Write(hello)
			return err
		}, syscall.EPIPE},
		{"end", func(_ *Net, near, far net.Conn) error {
			far.Close()
			_, err := near.Read(make([]byte, 1))
			return err
		}, io.EOF},
		{"write to nobody", func(_ *Net, near, far net.Conn) error {
			far.Close()
			near.Write(hello)
			time.Sleep(10 * ms)
			_, err := near.Write(hello)
			return err
		}, syscall.ECONNRESET},
		{"crash", func(n *Net, near, _ net.Conn) error {
			n.Host(addr(2)).Crash()
			near.Write(hello)
			_, err := near.Read(make([]byte, 1))
			return err
		}, syscall.ECONNRESET},
		{"own crash", func(n *Net, near, _ net.Conn) error {
			time.AfterFunc(ms, n.Host(addr(1)).Crash)
			_, err := near.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
		{"own close", func(_ *Net, near, _ net.Conn) error {
			time.AfterFunc(ms, func() { near.Close() })
			_, err := near.Read(make([]byte, 1))
			return err
		}, net.ErrClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := New(1)
				n.SetDefault(wan.Path{Delay: ms})
				near, far := connect(t, n)
				if err := tc.act(n, near, far); !errors.Is(err, tc.want) {
					t.Errorf("%v, want %v", err, tc.want)
				}
			})
		})
	}
}

// A stream leaves half of a narrow queue to others.
func TestStreamIsPolite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDefault(wan.Path{Delay: ms, Rate: 10_000_000, Queue: 20 * ms})
		near, far := connect(t, n)
		a := listenUDP(t, n, 1)
		b := listenUDP(t, n, 2)
		go io.Copy(io.Discard, far)
		go near.Write(make([]byte, 1_000_000))
		for range 100 {
			time.Sleep(5 * ms)
			write(t, a, at(2, 7), 100, 0)
		}
		time.Sleep(100 * ms)
		if c := n.Counters(addr(1), addr(2)); c.QueueFull != 0 {
			t.Errorf("%+v", c)
		}
		if got := strings.Count(read(t, b, 100, 100), "10.0.0.1:7"); got != 100 {
			t.Errorf("%d of 100 datagrams came through", got)
		}
		near.Close()
		time.Sleep(time.Second) // the reader sees the end
	})
}
