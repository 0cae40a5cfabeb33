package simnet

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// packetConn shows a UDPSocket as a net.PacketConn, in the way in which the link room feeds quic-go: a pump
// reads batches into a channel.
type packetConn struct {
	*UDPSocket
	in chan packet

	mu    sync.Mutex
	wake  chan struct{} // closed when the deadline changes
	until time.Time
}

type packet struct {
	data []byte
	from netip.AddrPort
}

func newPacketConn(s *UDPSocket) *packetConn {
	p := &packetConn{UDPSocket: s, in: make(chan packet, 100), wake: make(chan struct{})}
	go p.pump()
	return p
}

func (p *packetConn) pump() {
	defer close(p.in)
	bufs := [][]byte{make([]byte, 1<<16), make([]byte, 1<<16)}
	sizes, segs, from := make([]int, 2), make([]int, 2), make([]netip.AddrPort, 2)
	for {
		n, err := p.ReadBatch(bufs, sizes, segs, from)
		if err != nil {
			return
		}
		for i := range n {
			for rest := bufs[i][:sizes[i]]; len(rest) > 0; {
				seg := len(rest)
				if segs[i] > 0 {
					seg = min(seg, segs[i])
				}
				p.in <- packet{bytes.Clone(rest[:seg]), from[i]}
				rest = rest[seg:]
			}
		}
	}
}

func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		p.mu.Lock()
		wake, until := p.wake, p.until
		p.mu.Unlock()
		var expired <-chan time.Time
		if !until.IsZero() {
			if !until.After(time.Now()) {
				return 0, nil, os.ErrDeadlineExceeded
			}
			expired = time.After(time.Until(until))
		}
		select {
		case got, ok := <-p.in:
			if !ok {
				return 0, nil, net.ErrClosed
			}
			return copy(b, got.data), net.UDPAddrFromAddrPort(got.from), nil
		case <-wake:
		case <-expired:
		}
	}
}

func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	return len(b), p.WriteSegments(to.(*net.UDPAddr).AddrPort(), b, 0)
}

func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	close(p.wake)
	p.wake = make(chan struct{})
	return nil
}

func (p *packetConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.at) }
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
func (p *packetConn) SetDeadline(t time.Time) error    { return p.SetReadDeadline(t) }

// certificate makes a server's certificate and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"two"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// echo sends the first stream of the first connection back, and returns when the connection is over.
func echo(ctx context.Context, l *quic.Listener) error {
	conn, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(stream, stream); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-conn.Context().Done()
	return nil
}

// quic-go, unchanged, shakes hands and echoes a stream over a path with loss, in virtual time.
func TestQUICRunsOverIt(t *testing.T) {
	cert, pool := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.SetDefault(wan.Path{Delay: 10 * ms, Loss: 0.02, Rate: 50_000_000})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		server := &quic.Transport{Conn: newPacketConn(listenUDP(t, n, 2))}
		client := &quic.Transport{Conn: newPacketConn(listenUDP(t, n, 1))}
		l, err := server.Listen(&tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"echo"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var echoing sync.WaitGroup
		echoing.Go(func() {
			if err := echo(ctx, l); err != nil {
				t.Error(err)
			}
		})
		start := time.Now()
		conn, err := client.Dial(ctx, net.UDPAddrFromAddrPort(at(2, 7)), &tls.Config{RootCAs: pool, ServerName: "two", NextProtos: []string{"echo"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 20*ms || took > time.Second {
			t.Errorf("the handshake took %v over a path with a round trip of 20 ms", took)
		}
		stream, err := conn.OpenStreamSync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("virtuoso"), 100_000)
		go func() {
			stream.Write(sent)
			stream.Close()
		}()
		got, err := io.ReadAll(stream)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d came back: %v", len(got), len(sent), err)
		}
		if c := n.Counters(addr(1), addr(2)); c.Lost == 0 || c.TooBig == 0 {
			t.Logf("the path was kind: %+v", c)
		}
		conn.CloseWithError(0, "done")
		echoing.Wait()
		for _, tr := range []*quic.Transport{client, server} {
			if err := tr.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
			tr.Conn.Close()
		}
	})
}
