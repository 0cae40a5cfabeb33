package gauge

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

const (
	// checkPort is where the stream that is checked is received.
	checkPort = 9002
	// checkTime is how long it may take.
	checkTime = 60 * time.Second
	// block is how much is compared at a time, in bytes.
	block = 64 << 10
)

// Check sends a TCP stream of bytes that only the seed knows from A to B and compares every byte. It returns how many
// arrived as they were sent.
func (g Between) Check(seed uint64, size int64) (int64, error) {
	var listener net.Listener
	err := g.Stage.In(g.B, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(g.AddrB, checkPort).String())
		return err
	})
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	sent := make(chan error, 1)
	go func() { sent <- g.sendSeeded(seed, size) }()
	conn, err := listener.Accept()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(checkTime)); err != nil {
		return 0, err
	}
	n, err := compare(conn, seeded(seed), size)
	if err != nil {
		return n, err
	}
	return n, <-sent
}

func (g Between) sendSeeded(seed uint64, size int64) error {
	var conn net.Conn
	err := g.Stage.In(g.A, func() (err error) {
		conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(g.AddrB, checkPort).String(), checkTime)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(checkTime)); err != nil {
		return err
	}
	_, err = io.CopyN(conn, seeded(seed), size)
	return err
}

func seeded(seed uint64) io.Reader {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(key)
}

// compare reads size bytes from both and says where they begin to differ.
func compare(got, want io.Reader, size int64) (int64, error) {
	a, b := make([]byte, block), make([]byte, block)
	var done int64
	for done < size {
		n := min(block, size-done)
		if _, err := io.ReadFull(got, a[:n]); err != nil {
			return done, fmt.Errorf("cannot read the stream after %d bytes: %w", done, err)
		}
		if _, err := io.ReadFull(want, b[:n]); err != nil {
			return done, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return done, fmt.Errorf("corrupted: the stream differs from what was sent within %d bytes of %d", n, done)
		}
		done += n
	}
	return done, nil
}
