package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	streamPort = 7801 // TCP
	packetPort = 7802 // UDP
	// longestMessage is how long a message over TCP is at most: several super-frames.
	longestMessage = 300_000
	// longestDatagram is how long a UDP datagram is at most: fragments at every MTU of a guest.
	longestDatagram = 20_000
	// settle is how long is waited for what is under way when the other has ended.
	settle = 700 * time.Millisecond
)

// ears hear everything that the other mixer sends.
type ears struct {
	streams sync.WaitGroup // one of each family, until the other closes it
	closers []io.Closer
	raw     *rawEar
}

func listen(p Plan, b *book) (*ears, error) {
	e := &ears{}
	for _, family := range families(p) {
		l, err := net.Listen("tcp"+family, fmt.Sprintf(":%d", streamPort))
		if err != nil {
			return nil, err
		}
		u, err := net.ListenPacket("udp"+family, fmt.Sprintf(":%d", packetPort))
		if err != nil {
			return nil, err
		}
		_ = u.(*net.UDPConn).SetReadBuffer(4 << 20) // a smaller one only loses more
		e.closers = append(e.closers, l, u)
		e.streams.Go(func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			hearStream(conn, "tcp"+family, b)
		})
		go hearDatagrams(u, "udp"+family, b)
	}
	var err error
	e.raw, err = newRawEar(p, b)
	return e, err
}

// finish waits until the other has ended, and for what is under way.
func (e *ears) finish(ctx context.Context) {
	done := make(chan struct{})
	go func() { e.streams.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	time.Sleep(settle)
	for _, c := range e.closers {
		_ = c.Close() // whoever reads it is done
	}
	e.raw.stop()
}

func families(p Plan) []string {
	if p.Own6.IsValid() {
		return []string{"4", "6"}
	}
	return []string{"4"}
}

// hearStream checks numbered messages until the connection ends.
func hearStream(conn net.Conn, kind string, b *book) {
	r := bufio.NewReaderSize(conn, 1<<20)
	message := make([]byte, longestMessage)
	for next := uint64(0); ; next++ {
		head, err := r.Peek(messageHead)
		if err != nil {
			if len(head) > 0 {
				b.wrong(kind, "the stream ends with %d bytes: %v", len(head), err)
			}
			return
		}
		n := binary.BigEndian.Uint64(head[16:])
		if binary.BigEndian.Uint64(head) != messageMagic || n < messageHead || n > longestMessage {
			b.wrong(kind, "after %d messages comes %x", next, head)
			return
		}
		if _, err := io.ReadFull(r, message[:n]); err != nil {
			return // it broke, which is no damage; the sender says why
		}
		number, err := checkMessage(message[:n])
		if err != nil || number != next {
			b.wrong(kind, "at message %d: %d, %v", next, number, err)
			return
		}
		b.good(kind, number, int(n))
	}
}

func hearDatagrams(conn net.PacketConn, kind string, b *book) {
	buf := make([]byte, 65536)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		number, err := checkMessage(buf[:n])
		if err != nil {
			b.wrong(kind, "%v", err)
			continue
		}
		b.good(kind, number, n)
	}
}

// dialAll connects to the other mixer, which may not be there yet.
func dialAll(ctx context.Context, p Plan) (map[string]net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	conns := map[string]net.Conn{}
	for _, family := range families(p) {
		to := p.Peer4
		if family == "6" {
			to = p.Peer6
		}
		for conns["tcp"+family] == nil {
			d := net.Dialer{Timeout: time.Second}
			conn, err := d.DialContext(ctx, "tcp"+family, net.JoinHostPort(to.String(), fmt.Sprint(streamPort)))
			if err == nil {
				conns["tcp"+family] = conn
				break
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("cannot reach %v: %w", to, err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return conns, nil
}

// sendStream writes messages as fast as they go, in writes that are cut elsewhere than the messages.
func sendStream(conn net.Conn, kind string, until time.Time, b *book) error {
	l := newLetters()
	var buf []byte
	number := uint64(0)
	for time.Now().Before(until) {
		n := messageHead + int(number*number*31+number*977)%(longestMessage-messageHead)
		if number%3 == 0 {
			n = messageHead + int(number)%1400
		}
		buf = appendMessage(buf, l, number, n)
		number++
		out := len(buf) * 2 / 3
		_ = conn.SetWriteDeadline(until.Add(15 * time.Second))
		if _, err := conn.Write(buf[:out]); err != nil {
			return fmt.Errorf("%s broke after %d messages: %w", kind, number, err)
		}
		buf = buf[:copy(buf, buf[out:])]
		b.sent(kind, 1)
	}
	if _, err := conn.Write(buf); err != nil {
		return fmt.Errorf("%s broke at its end: %w", kind, err)
	}
	return conn.Close()
}

// datagrams is a UDP socket to the other mixer.
type datagrams struct {
	fd     int
	to     unix.Sockaddr
	kind   string
	least  int // bytes of headers in front of the payload
	number uint64
	buf    []byte
}

func openDatagrams(p Plan, family string) (*datagrams, error) {
	d := &datagrams{kind: "udp" + family, least: 28, to: &unix.SockaddrInet4{Port: packetPort, Addr: p.Peer4.As4()}}
	kind := unix.AF_INET
	if family == "6" {
		kind, d.least, d.to = unix.AF_INET6, 48, &unix.SockaddrInet6{Port: packetPort, Addr: p.Peer6.As16()}
	}
	var err error
	d.fd, err = unix.Socket(kind, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return d, err
}

// send sends one datagram of n bytes.
func (d *datagrams) send(l letters, n int, b *book) {
	d.buf = appendMessage(d.buf[:0], l, d.number, n)
	d.number++
	if unix.Sendto(d.fd, d.buf, unix.MSG_DONTWAIT, d.to) == nil {
		b.sent(d.kind, 1)
	}
}

// burst sends several datagrams of n bytes in one call: a super-frame, where the kernel can.
func (d *datagrams) burst(l letters, n, count int, b *book) error {
	d.buf = d.buf[:0]
	for range count {
		d.buf = appendMessage(d.buf, l, d.number, n)
		d.number++
	}
	if err := unix.SetsockoptInt(d.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, n); err != nil {
		return nil // a kernel before 4.18 has none
	}
	if unix.Sendto(d.fd, d.buf, unix.MSG_DONTWAIT, d.to) == nil {
		b.sent(d.kind, count)
	}
	return unix.SetsockoptInt(d.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0)
}

// sendPackets sends datagrams of all sizes and every raw kind, every 10 ms.
func sendPackets(p Plan, until time.Time, b *book) error {
	l := newLetters()
	var all []*datagrams
	for _, family := range families(p) {
		d, err := openDatagrams(p, family)
		if err != nil {
			return err
		}
		defer unix.Close(d.fd)
		all = append(all, d)
	}
	raw, err := newRawMouth(p)
	if err != nil {
		return err
	}
	defer unix.Close(raw.fd)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for round := 0; time.Now().Before(until); round++ {
		for _, d := range all {
			most := p.MTU - d.least
			d.send(l, most, b)
			d.send(l, messageHead+(round*37)%(most-messageHead), b)
			if round%5 == 0 {
				d.send(l, most+1+(round*211)%(longestDatagram-most), b)
			}
			if round%7 == 0 {
				if err := d.burst(l, messageHead+(round*53)%(most-messageHead), 2+round%20, b); err != nil {
					return err
				}
			}
		}
		if err := raw.send(l, round, b); err != nil {
			return err
		}
		<-ticker.C
	}
	return nil
}
