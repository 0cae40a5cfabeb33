package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// addrM is where Mallory sits. Her certificate, if she has one, is good.
var addrM = netip.MustParseAddr("10.0.0.66")

// besieged is a world with Mallory in it, and a link between the two others whose frames must all arrive.
func besieged(t *testing.T, body func(t *testing.T, w *world, mallory *site)) {
	t.Helper()
	simulate(t, wan.Path{Delay: 5 * time.Millisecond}, func(t *testing.T, w *world) {
		w.net.SetPathBoth(addrM, addrB, wan.Path{Delay: time.Millisecond})
		mallory, stop := newSite(t, w.id(t, "mallory"), &simDoor{Host: w.net.Host(addrM)}, "10.0.0.66:4500", nil)
		defer stop()
		out, _ := dial(t, w.a, w.b, UDP)
		w.b.mu.Lock()
		w.b.keep = false
		before := w.b.frames
		w.b.mu.Unlock()
		sent, stopped := 0, make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(stopped)
			for ctx.Err() == nil {
				out.Send(0, frames(sent, 10))
				sent += 10
				time.Sleep(time.Millisecond)
			}
		}()
		body(t, w, mallory)
		cancel()
		<-stopped
		time.Sleep(time.Second)
		w.b.mu.Lock()
		defer w.b.mu.Unlock()
		if got := w.b.frames - before; got != sent || out.Err() != nil {
			t.Errorf("of %d frames of an honest peer %d arrived; its link: %v", sent, got, out.Err())
		}
	})
}

// heap is what lives on the heap, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func (u *usher) underWay(carrier string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open[carrier]
}

// A stranger leaves a thousand handshakes half open, over QUIC and over TCP. A peer gets in all the while.
func TestHalfOpenHandshakesAreBounded(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, _ *site) {
		u := w.b.usher
		before := heap()
		group, err := w.net.Host(netip.MustParseAddr("10.0.0.67")).ListenUDP(netip.MustParseAddrPort("10.0.0.67:1"), 1)
		if err != nil {
			t.Fatal(err)
		}
		w.net.SetPathBoth(netip.MustParseAddr("10.0.0.67"), addrB, wan.Path{Delay: time.Millisecond})
		deaf := newQUICConn(group[0]) // nobody pushes what arrives, so no answer is ever read
		stranger := &quic.Transport{Conn: deaf}
		ctx, cancel := context.WithCancel(t.Context())
		const many = 1000
		done := make(chan struct{}, 2*many)
		for i := range many {
			go func() {
				defer func() { done <- struct{}{} }()
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				_, _ = stranger.Dial(ctx, net.UDPAddrFromAddrPort(w.b.Addr()), &tls.Config{NextProtos: []string{alpnQUIC}, InsecureSkipVerify: true}, quicConfig())
			}()
			go func() {
				defer func() { done <- struct{}{} }()
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				conn, err := w.net.Host(addrM).DialTCP(ctx, w.b.Addr())
				if err == nil {
					_, _ = conn.Read(make([]byte, 1)) // until the other side has had enough
					conn.Close()
				}
			}()
		}
		most := map[string]int{}
		var grown int64
		for i := range 12 {
			time.Sleep(250 * time.Millisecond)
			for _, carrier := range []string{"quic", "tcp"} {
				most[carrier] = max(most[carrier], u.underWay(carrier))
			}
			grown = max(grown, heap()-before)
			if i%4 == 1 {
				begin := time.Now()
				for _, carrier := range carriers {
					l, in := dial(t, w.a, w.b, carrier)
					l.Close("enough")
					<-in.Done()
				}
				if took := time.Since(begin); took > time.Second {
					t.Errorf("a peer needed %v to link meanwhile", took)
				}
			}
		}
		for carrier, n := range most {
			if n > knocksOpenOne || n < knocksOpenOne/2 {
				t.Errorf("%d handshakes over %s were under way at once, at most %d are allowed", n, carrier, knocksOpenOne)
			}
		}
		t.Logf("at most %v under way; the heap grew by %d KiB; turned away: %v", most, grown>>10, w.b.Refused())
		if w.b.Refused()[errCrowded.Error()] == 0 {
			t.Error("nobody was turned away")
		}
		cancel()
		for range 2 * many {
			<-done
		}
		stranger.Close()
		deaf.Close()
		group[0].Close()
		if time.Sleep(setupTimeout + 5*time.Second); u.underWay("quic")+u.underWay("tcp") != 0 {
			t.Errorf("%d and %d are counted for ever", u.underWay("quic"), u.underWay("tcp"))
		}
	})
}

// One address cannot begin handshakes faster than a core computes them, and cannot fill the memory of addresses.
func TestTheDoorIsBounded(t *testing.T) {
	u, now := newUsher(), time.Unix(1000, 0)
	passed := 0
	for range 10_000 {
		if leave, err := u.knock(now, "quic", addrA); err == nil {
			passed++
			leave()
			leave() // twice does no harm
		}
	}
	if passed != knocksBurst || u.refused[errHasty.Error()] != uint64(10_000-knocksBurst) {
		t.Errorf("%d handshakes at once; %v", passed, u.refused)
	}
	for i := range 3 * callersKept {
		a := netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 16), byte(i >> 8), byte(i)})
		if leave, err := u.knock(now, "quic", a); err == nil {
			leave()
		}
	}
	if n := len(u.callers); n > callersKept+1 {
		t.Errorf("%d addresses are remembered", n)
	}
	if _, err := u.knock(now.Add(2*callerIdle), "tcp", netip.MustParseAddr("2001:db8::1")); err != nil || len(u.callers) > 2 {
		t.Errorf("after a quiet minute: %v, %d addresses", err, len(u.callers))
	}
	if subnet(netip.MustParseAddr("2001:db8::1")) != subnet(netip.MustParseAddr("2001:db8::2")) || subnet(addrA) == subnet(addrB) {
		t.Error("who is taken for one")
	}
	if subnet(netip.MustParseAddr("::ffff:10.0.0.1")) != subnet(addrA) {
		t.Error("an IPv4 address has two accounts")
	}
}

// A peer opens 10,000 streams, and as many links as it gets.
func TestAPeerOpensOnlySoMuch(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		call := func() (*quic.Conn, error) {
			return mallory.transport.Dial(ctx, net.UDPAddrFromAddrPort(w.b.Addr()), mallory.identity.Load().TLS("b", alpnQUIC), quicConfig())
		}
		conn, err := call()
		if err != nil {
			t.Fatal(err)
		}
		opened := 0
		for range 10_000 {
			if s, err := conn.OpenStream(); err == nil {
				opened++
				fmt.Fprint(s, "?")
			}
			if _, err := conn.OpenUniStream(); err == nil {
				opened++
			}
		}
		if opened != 1 {
			t.Errorf("%d of 20,000 streams were opened, want the control stream", opened)
		}
		_ = conn.CloseWithError(0, "")
		turned := 0
		var silent []*quic.Conn
		for range 3 * peerSetups { // connections that go no further
			c, err := call()
			if err != nil {
				t.Fatal(err)
			}
			silent = append(silent, c)
		}
		time.Sleep(time.Second)
		for _, c := range silent {
			if c.Context().Err() != nil && strings.Contains(context.Cause(c.Context()).Error(), "16 set-ups under way") {
				turned++
			}
			_ = c.CloseWithError(0, "")
		}
		if turned < 2*peerSetups {
			t.Errorf("%d of %d set-ups were turned away", turned, len(silent))
		}
		time.Sleep(setupTimeout)
		var links []*Link
		for range 2 * peerLinks {
			l, err := tryDial(mallory, w.b, UDP, "b")
			if err == nil {
				<-w.b.accepted
				links = append(links, l)
			} else if !strings.Contains(err.Error(), "mallory has 16 links with this node already") {
				t.Fatal(err)
			}
		}
		if len(links) != peerLinks {
			t.Errorf("a peer has %d links, want %d", len(links), peerLinks)
		}
		for _, l := range links {
			l.Close("enough")
		}
		time.Sleep(3 * time.Second)
		again, _ := dial(t, mallory, w.b, UDP)
		again.Close("enough")
	})
}

// A peer floods the control stream of a node that does not come round to reading: what is held is bounded, then the peer waits.
func TestAFloodOfControlMessagesIsHeldBack(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		out, in := dial(t, mallory, w.b, UDP)
		before := heap()
		go func() {
			message := appendMessage(nil, msgApp, make([]byte, 1<<20))
			for out.Err() == nil {
				if _, err := out.control.stream.Write(message); err != nil {
					return
				}
			}
		}()
		time.Sleep(20 * time.Second)
		account := w.b.usher.account("mallory")
		account.mu.Lock()
		held := account.held
		account.mu.Unlock()
		grown := heap() - before
		t.Logf("held %d KiB, the heap grew by %d KiB", held>>10, grown>>10)
		if held > controlHeld || held < controlHeld/2 {
			t.Errorf("%d bytes of a peer's messages are held, at most %d are allowed", held, controlHeld)
		}
		if limit := int64(controlHeld + 16<<20); grown > limit {
			t.Errorf("the heap grew by %d bytes, at most %d are stated", grown, limit)
		}
		got, begin := 0, time.Now()
		for time.Since(begin) < 10*time.Second { // the node reads as fast as it can
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			m, err := in.RecvControl(ctx)
			cancel()
			if err == nil {
				got += len(m)
			}
		}
		if most := controlHeld + controlByteBurst + 11*controlByteRate; got > most || got < 10*controlByteRate/2 {
			t.Errorf("%d bytes in 10 s, at most %d are allowed", got, most)
		}
		out.Close("enough")
		<-in.Done()
		time.Sleep(3 * time.Second)
		account.mu.Lock()
		defer account.mu.Unlock()
		if account.held != 0 {
			t.Errorf("a link that is gone holds %d bytes", account.held)
		}
	})
}

func TestManySmallControlMessagesArePaced(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		out, in := dial(t, mallory, w.b, UDP)
		go func() {
			message := appendMessage(nil, msgApp, []byte("?"))
			for out.Err() == nil {
				if _, err := out.control.stream.Write(message); err != nil {
					return
				}
			}
		}()
		got, begin := 0, time.Now()
		for time.Since(begin) < 10*time.Second {
			if _, err := in.RecvControl(t.Context()); err != nil {
				t.Fatal(err)
			}
			got++
		}
		if most := controlBurst + 11*int(time.Second/controlEvery); got > most || got < most/2 {
			t.Errorf("%d messages in 10 s, at most %d are allowed", got, most)
		}
		out.Close("enough")
		<-in.Done()
	})
}

// A peer says that a message is huge, or stops in the midst of one: nothing is kept for what has not come.
func TestOversizeCountsTakeNoMemory(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		for _, head := range [][]byte{{0xff, 0xff, 0xff, 0xff, msgApp}, {0, 0x80, 0, 2, msgApp}, {0, 0, 0, 0, msgApp}, {0, 0, 0, 9, msgHello}} {
			out, in := dial(t, mallory, w.b, UDP)
			if _, err := out.control.stream.Write(head); err != nil {
				t.Fatal(err)
			}
			select {
			case <-in.Done():
			case <-time.After(time.Second):
				t.Errorf("%x is taken", head)
			}
			<-out.Done()
		}
		before := heap()
		var links []*Link
		for range 8 {
			out, _ := dial(t, mallory, w.b, UDP)
			links = append(links, out)
			if _, err := out.control.stream.Write([]byte{0, 0x7f, 0xff, 0xff, msgApp, 'x'}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		if grown := heap() - before; grown > 4<<20 {
			t.Errorf("the heap grew by %d bytes for messages that have not come", grown)
		}
		for _, l := range links {
			l.Close("enough")
		}
	})
}

// A peer lives on and reads nothing: what waits for it is bounded, and its link ends.
func TestAPeerThatDoesNotReadIsLeft(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		_, in := dial(t, mallory, w.b, UDP)
		queued, begin := 0, time.Now()
		for in.Err() == nil {
			if err := in.SendControl(make([]byte, 1<<20)); err == nil {
				queued++
			} else if !errors.Is(err, errBacklog) && in.Err() == nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		account := w.b.usher.account("mallory")
		if most := (controlOut + controlHeld + controlByteBurst) >> 20; queued > most || !errors.Is(in.Err(), errStuck) {
			t.Errorf("%d MiB were queued, at most %d are stated; the link ended after %v: %v", queued, most, time.Since(begin), in.Err())
		}
		time.Sleep(3 * time.Second)
		if n := account.out.Load(); n != 0 {
			t.Errorf("%d bytes are counted for a link that is gone", n)
		}
	})
}

// Whatever a peer seals, the node holds no more than it states, and the link either lives or ends.
func TestSealedNonsenseIsHarmless(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, mallory *site) {
		out, in := dial(t, mallory, w.b, UDP)
		before := heap()
		key, err := out.tx.Load().next() // of the next epoch, which the peer has not reached in earnest
		if err != nil {
			t.Fatal(err)
		}
		var nonce scratch
		counter := uint64(1)
		say := func(h header, body []byte) {
			h.link, h.counter = out.theirs, counter
			counter++
			d := key.seal(append(make([]byte, headerLen, sizeLargest), body...), h, &nonce)
			if err := mallory.sockets[0].WriteSegments(w.b.Addr(), d, len(d)); err != nil {
				t.Fatal(err)
			}
		}
		records := header{kind: dgramRecords, lane: 7, epoch: uint8(key.epoch)}
		b := make([]byte, sizeLargest)
		for i := range 20_000 { // pieces that are never whole, of frames as large as they come
			n := putRecord(b, record{hops: 1, piece: piece{id: uint16(i), index: uint8(i % 7), count: 8}, bytes: make([]byte, 1300)})
			say(records, b[:n])
			if i%100 == 99 {
				time.Sleep(time.Millisecond)
			}
		}
		for lane := range uint16(maxLanes) { // every lane there may be
			say(header{kind: dgramRecords, lane: lane, epoch: uint8(key.epoch)}, []byte{recPadding})
		}
		for _, body := range [][]byte{nil, {0}, {0xff, 1, 2, 3}, {recHouse, 1, 0, 0}, {recOffload, 1, 0, 1, 9}, {0, 1, 0xff, 0xff, 1}, {0, 200, 0, 1, 7}} {
			say(records, body)
		}
		for epoch := range uint16(256) { // epochs that nobody has reached
			h := records
			h.epoch = uint8(epoch)
			say(h, []byte{recPadding})
		}
		time.Sleep(100 * time.Millisecond)
		in.rx.joiner.mu.Lock()
		held, open, spare := in.rx.joiner.held, len(in.rx.joiner.open), 0
		for _, p := range in.rx.joiner.spare {
			spare += cap(p.buf) + cap(p.tail)
		}
		in.rx.joiner.mu.Unlock()
		grown := heap() - before
		t.Logf("pieces: %d bytes in %d frames, %d KiB to use again; the heap grew by %d KiB; link: %v", held, open, spare>>10, grown>>10, in.Err())
		if held > pieceBytes || open > pieceFrames || spare > 2*pieceSpare*maxPieces*sizeLargest {
			t.Errorf("pieces of %d bytes in %d frames are held, %d bytes to use again", held, open, spare)
		}
		if grown > 4<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		lie := beat{sent: 1 << 62, echo: 1 << 62, held: 1 << 61, frames: 1 << 63, received: 1 << 63, epoch: 1 << 63}
		say(header{kind: dgramHouse, lane: houseLane, epoch: uint8(key.epoch)}, b[:lie.put(b)])
		time.Sleep(3 * time.Second)
		out.Close("enough")
		time.Sleep(time.Second)
		if in.Err() == nil {
			t.Error("the link is still there")
		}
	})
}

// Nothing but its header is read of what a stranger sends: no length of garbage, on any carrier, leaves more than a counter.
func TestGarbageFromStrangers(t *testing.T) {
	besieged(t, func(t *testing.T, w *world, _ *site) {
		host := w.net.Host(netip.MustParseAddr("10.0.0.67"))
		w.net.SetPathBoth(netip.MustParseAddr("10.0.0.67"), addrB, wan.Path{Delay: time.Millisecond})
		group, err := host.ListenUDP(netip.MustParseAddrPort("10.0.0.67:1"), 1)
		if err != nil {
			t.Fatal(err)
		}
		defer group[0].Close()
		before := heap()
		for i := range 20_000 {
			d := make([]byte, 1+i%1472)
			for j := range d {
				d[j] = byte(i * (j + 7))
			}
			if err := group[0].WriteSegments(w.b.Addr(), d, len(d)); err != nil {
				t.Fatal(err)
			}
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(7 * time.Second) // longer than any handshake may take
		if grown := heap() - before; grown > 2<<20 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
		if w.b.Strays() == 0 {
			t.Error("nothing was counted")
		}
		conn, err := host.DialTCP(t.Context(), w.b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, strings.Repeat("\x16\x03\x01\xff\xff", 4000))
		if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Log(err)
		}
	})
}
