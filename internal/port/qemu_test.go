//go:build linux

package port

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// card is QEMU's end of the socket, as its -netdev dgram and -netdev stream behave.
type card struct {
	conn   net.Conn
	stream bool
	peer   net.Addr // of datagrams
}

func (c *card) send(t testing.TB, f []byte) {
	t.Helper()
	var err error
	switch conn := c.conn.(type) {
	case *net.UnixConn:
		if !c.stream {
			_, err = conn.WriteTo(f, c.peer)
			break
		}
		_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...))
	default:
		if c.stream {
			f = append(binary.BigEndian.AppendUint32(nil, uint32(len(f))), f...)
		}
		_, err = conn.Write(f)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *card) receive(t testing.TB) []byte {
	t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	f := make([]byte, maxFrame)
	var n int
	var err error
	if c.stream {
		var prefix [4]byte
		if _, err = io.ReadFull(c.conn, prefix[:]); err == nil {
			n, err = io.ReadFull(c.conn, f[:binary.BigEndian.Uint32(prefix[:])])
		}
	} else {
		n, err = c.conn.Read(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f[:n]
}

// meetings are the ways in which QEMU and a port meet. plug is called for every new guest.
var meetings = []struct {
	name   string
	config func(dir string) QEMUConfig
}{
	{"stream", func(dir string) QEMUConfig { return QEMUConfig{Stream: true, Local: dir + "/port"} }},
	{"stream on the loopback", func(string) QEMUConfig { return QEMUConfig{Stream: true, Local: "127.0.0.1:7001"} }},
	{"dgram", func(dir string) QEMUConfig { return QEMUConfig{Local: dir + "/port", Remote: dir + "/guest"} }},
	{"dgram, learned", func(dir string) QEMUConfig { return QEMUConfig{Local: dir + "/port"} }},
	{"dgram on the loopback", func(string) QEMUConfig { return QEMUConfig{Local: "127.0.0.1:7001", Remote: "127.0.0.1:7002"} }},
}

func plug(t testing.TB, c QEMUConfig, dir string) *card {
	t.Helper()
	network, guest := "unix", net.Addr(&net.UnixAddr{Name: dir + "/guest", Net: "unixgram"})
	var conn net.Conn
	var err error
	switch {
	case c.Stream:
		if !isPath(c.Local) {
			network = "tcp"
		}
		conn, err = net.Dial(network, c.Local)
	case isPath(c.Local):
		_ = os.Remove(dir + "/guest") // as QEMU does
		conn, err = net.ListenUnixgram("unixgram", guest.(*net.UnixAddr))
	default:
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(mustAddrPort(c.Remote))}
		conn, err = dialer.Dial("udp", c.Local)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &card{conn: conn, stream: c.Stream, peer: &net.UnixAddr{Name: c.Local, Net: "unixgram"}}
}

func openTestQEMU(t testing.TB, c QEMUConfig) Port {
	t.Helper()
	c.Name = "vm1"
	p, err := OpenQEMU(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// readAll reads a port until it is closed, since a reader also helps frames out that wait for the guest.
func readAll(t testing.TB, p Port) <-chan ether.Packet {
	came := make(chan ether.Packet, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := NewBatch(4); p.Read(0, b) == nil; {
			for i := range b.Packets {
				came <- clonePacket(&b.Packets[i])
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.Close()
		<-done
	})
	return came
}

func comes(t testing.TB, came <-chan ether.Packet, want ether.Packet) {
	t.Helper()
	select {
	case got := <-came:
		same(t, []ether.Packet{want}, []ether.Packet{got})
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
}

// socketDir has a short name: a unix address holds 107 bytes.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestQEMUGuest(t *testing.T) {
	needNamespace(t)
	upLoopback(t)
	for _, m := range meetings {
		t.Run(m.name, func(t *testing.T) {
			dir := socketDir(t)
			c := m.config(dir)
			p := openTestQEMU(t, c)
			came := readAll(t, p)
			hello := recipe{payload: 46}.packet()
			lost := recipe{payload: 7}.packet()
			if _, err := p.Write(0, []ether.Packet{lost}); err != nil {
				t.Fatal("nobody is there, which is no error: ", err)
			}
			for range 2 { // the second is the guest after it was started anew
				guest := plug(t, c, dir)
				guest.send(t, hello.Frame)
				comes(t, came, hello)
				for name, r := range recipes {
					send(t, p, r.packet())
					for i, want := range finished(r.packet()) {
						if got := guest.receive(t); !bytes.Equal(want.Frame, got) {
							t.Fatalf("%s: frame %d is %x, want %x", name, i, got, want.Frame)
						}
					}
				}
				if err := guest.conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
			info := p.Info()
			want := Info{Kind: KindQEMU, Interface: info.Interface, Queues: 1, Drops: info.Drops}
			if diff := cmp.Diff(want, info); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// TestSlowQEMUGuest floods a guest that does not read: what it gets in the end is whole frames in order, and what it does
// not get is counted.
func TestSlowQEMUGuest(t *testing.T) {
	needNamespace(t)
	upLoopback(t)
	for _, m := range meetings[:3] { // UDP on the loopback loses without telling
		t.Run(m.name, func(t *testing.T) {
			dir := socketDir(t)
			c := m.config(dir)
			p := openTestQEMU(t, c)
			guest := plug(t, c, dir)
			hello := recipe{payload: 46}.packet()
			guest.send(t, hello.Frame)
			comes(t, readAll(t, p), hello)
			const frames = 20000 // more than TCP's buffers
			sent := 0
			for i := range frames {
				f := recipe{payload: 1400}.packet()
				binary.BigEndian.PutUint32(f.Frame[60:], uint32(i))
				n, err := p.Write(0, []ether.Packet{f})
				if err != nil {
					t.Fatal(err)
				}
				sent += n
			}
			dropped := int(p.Info().Drops[dropFull.String()])
			if dropped == 0 || sent+dropped != frames {
				t.Fatalf("%d went and %d were dropped, of %d", sent, dropped, frames)
			}
			last := -1
			for range sent {
				f := guest.receive(t)
				number := int(binary.BigEndian.Uint32(f[60:]))
				want := recipe{payload: 1400}.packet().Frame
				binary.BigEndian.PutUint32(want[60:], uint32(number))
				if number <= last || !bytes.Equal(f, want) {
					t.Fatalf("frame %d after %d: %x", number, last, f)
				}
				last = number
			}
		})
	}
}

func TestQEMUSocketIsOursAlone(t *testing.T) {
	needNamespace(t)
	for _, kind := range []string{"stream", "dgram"} {
		t.Run(kind, func(t *testing.T) {
			at := filepath.Join(socketDir(t), "port")
			c, err := ParseQEMU("vm1", kind+":"+at)
			if err != nil {
				t.Fatal(err)
			}
			p := openTestQEMU(t, c)
			if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("%v, %v", info.Mode(), err)
			}
			if second, err := OpenQEMU(c); err == nil {
				_ = second.Close()
				t.Fatal("a second port took the socket")
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			fd, err := bound(at, map[string]int{"stream": 1, "dgram": 2}[kind]) // left behind, as by kill -9
			if err != nil {
				t.Fatal(err)
			}
			_ = os.NewFile(uintptr(fd), at).Close()
			openTestQEMU(t, c)
		})
	}
}

func TestStrangeStreamIsCut(t *testing.T) {
	needNamespace(t)
	dir := socketDir(t)
	c := QEMUConfig{Stream: true, Local: dir + "/port"}
	p := openTestQEMU(t, c)
	strange := plug(t, c, dir)
	if _, err := strange.conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	f := recipe{payload: 46}.packet()
	go func() {
		_ = strange.conn.SetReadDeadline(time.Now().Add(patience))
		_, err := strange.conn.Read(make([]byte, 1))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection was not closed")
		}
		plug(t, c, dir).send(t, f.Frame)
	}()
	same(t, []ether.Packet{f}, expect(t, p, 1))
}

func TestParseQEMU(t *testing.T) {
	rows := []struct {
		text string
		want QEMUConfig
		bad  bool
	}{
		{"stream:/run/vm1", QEMUConfig{Name: "vm1", Stream: true, Local: "/run/vm1"}, false},
		{"dgram:./vm1", QEMUConfig{Name: "vm1", Local: "./vm1"}, false},
		{"dgram:/run/a,/run/b", QEMUConfig{Name: "vm1", Local: "/run/a", Remote: "/run/b"}, false},
		{"dgram:[::1]:5,[::1]:6", QEMUConfig{Name: "vm1", Local: "[::1]:5", Remote: "[::1]:6"}, false},
		{"stream:127.0.0.1:5", QEMUConfig{Name: "vm1", Stream: true, Local: "127.0.0.1:5"}, false},
		{"stream:0.0.0.0:5", QEMUConfig{}, true},
		{"stream:/a,/b", QEMUConfig{}, true},
		{"stream:vm1", QEMUConfig{}, true},
		{"dgram:127.0.0.1:5", QEMUConfig{}, true},
		{"dgram:127.0.0.1:5,/run/b", QEMUConfig{}, true},
		{"dgram:127.0.0.1:5,10.0.0.1:6", QEMUConfig{}, true},
		{"/run/vm1", QEMUConfig{}, true},
		{"", QEMUConfig{}, true},
		{fmt.Sprintf("stream:/%0200d", 0), QEMUConfig{}, true},
	}
	for _, row := range rows {
		got, err := ParseQEMU("vm1", row.text)
		if (err != nil) != row.bad || err == nil && got != row.want {
			t.Errorf("%q: %+v, %v", row.text, got, err)
		}
	}
}

// streamIsItsTwin: however a stream is cut into reads, the same frames come out of it.
func streamIsItsTwin(t *rapid.T) {
	var stream []byte
	var want [][]byte
	for range rapid.IntRange(0, 20).Draw(t, "frames") {
		f := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "frame")
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			f = make([]byte, rapid.IntRange(0, 5000).Draw(t, "length"))
			fill(f, 7)
		}
		stream = append(binary.BigEndian.AppendUint32(stream, uint32(len(f))), f...)
		if len(f) >= ether.HeaderLen {
			want = append(want, f)
		}
	}
	q := &qemu{arrived: make([]byte, 0, qemuRead)}
	var got [][]byte
	b := NewBatch(rapid.IntRange(1, 8).Draw(t, "batch"))
	for len(stream) > 0 || len(b.Packets) > 0 {
		rest := copy(q.arrived[:cap(q.arrived)], q.arrived[q.parsed:])
		n := min(len(stream), cap(q.arrived)-rest, rapid.IntRange(1, 9000).Draw(t, "read"))
		q.arrived, q.parsed = append(q.arrived[:rest], stream[:n]...), 0
		stream = stream[n:]
		b.reset()
		if !q.parse(b) {
			t.Fatal("refused")
		}
		for i := range b.Packets {
			got = append(got, bytes.Clone(b.Packets[i].Frame))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

func TestQEMUStreamIsItsSlowTwin(t *testing.T) { rapid.Check(t, streamIsItsTwin) }

func FuzzQEMUStream(f *testing.F) { f.Fuzz(rapid.MakeFuzz(streamIsItsTwin)) }

func FuzzParseQEMU(f *testing.F) {
	f.Add("dgram:/run/a,/run/b")
	f.Add("stream:[::1]:80")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseQEMU("vm1", text)
		if err != nil {
			return
		}
		back := map[bool]string{true: "stream:", false: "dgram:"}[c.Stream] + c.Local
		if c.Remote != "" {
			back += "," + c.Remote
		}
		if again, err := ParseQEMU("vm1", back); err != nil || again != c {
			t.Fatalf("%q becomes %q: %+v, %v", text, back, again, err)
		}
	})
}

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func upLoopback(t testing.TB) {
	t.Helper()
	if err := netlink.LinkSetUp(findLink(t, "lo")); err != nil {
		t.Fatal(err)
	}
}
