package port

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// openRationed opens a TAP in whose queue only so many bytes may wait, and the way into it.
func openRationed(t testing.TB, c TAPConfig) (in Port, out *tap) {
	t.Helper()
	out = openTestTAP(t, c).(*tap)
	if why := out.Info().Off[offloadQueue]; why != "" {
		t.Skipf("no bound of bytes: %s", why)
	}
	in = openTestLAN(t, c.Name)
	quiet := "/proc/sys/net/ipv6/conf/" + c.Name + "/disable_ipv6" // the kernel itself sends nothing any more
	if err := os.WriteFile(quiet, []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for q := range out.queues {
		drain(&out.queues[q])
	}
	return in, out
}

// drain reads all that waits in a queue, and returns how much.
func drain(k *queue) (n int) {
	for b := NewBatch(1); ; n++ {
		b.reset()
		if receiveTAP(k, b) != nil {
			k.reckoning.empty()
			return n
		}
	}
}

// TestRationAsTheTally sends frames of all lengths into a TAP that is read now and then: the kernel's program lets in what its twin in Go does,
// and what it lets in arrives.
func TestRationAsTheTally(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed", MTU: 9000, Waiting: 60_000, TxQueue: 40})
	dice := rand.New(rand.NewPCG(1, 2))
	q, batch := out.ration.of(0), NewBatch(64)
	var waiting []ether.Packet
	turned := uint64(0)
	for i := range 3000 {
		payload := 20 + dice.IntN(100)
		if i/500%2 == 0 { // in turn: mixed, and small frames only
			payload = []int{payload, dice.IntN(8900), longFrame - 60 + dice.IntN(20)}[dice.IntN(3)]
		}
		p := recipe{payload: payload}.packet()
		want := q.admits(len(p.Frame))
		n, err := in.Write(0, []ether.Packet{p})
		if err != nil {
			t.Fatal(err)
		}
		if got := n == 1; got != want {
			t.Fatalf("frame %d of %d bytes: let in: %v; its twin: %v; %+v", i, len(p.Frame), got, want, *q)
		}
		if want {
			waiting = append(waiting, p)
		} else {
			turned++
		}
		if len(waiting) > 0 && dice.IntN(30) == 0 {
			if err := out.Read(0, batch); err != nil {
				t.Fatal(err)
			}
			same(t, waiting[:len(batch.Packets)], batch.Packets)
			waiting = waiting[len(batch.Packets):]
		}
	}
	if got := out.Info().Drops[dropWaiting.String()]; got != turned || turned == 0 {
		t.Fatalf("%d were turned away, the port counts %d", turned, got)
	}
}

// TestRationOfSuperFrames fills a TAP with super-frames: few of them wait, and small frames still find room.
func TestRationOfSuperFrames(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed"})
	long, small := recipe{payload: 58_000, gso: 1448}.packet(), recipe{payload: 64}.packet()
	fill := func(p ether.Packet) (n int) {
		for {
			went, err := in.Write(0, []ether.Packet{p})
			if err != nil {
				t.Fatal(err)
			}
			if n += went; went == 0 || n == 1000 {
				return n
			}
		}
	}
	most := int(fits(defaultTxQueue))
	want := (defaultQueueBytes + len(long.Frame) - 1) / len(long.Frame)
	if n := fill(long); n != want {
		t.Fatalf("%d super-frames wait, want %d", n, want)
	}
	if n := fill(small); n != most-want {
		t.Fatalf("%d small frames wait beside them, want %d", n, most-want)
	}
	expect(t, out, most)
	waits := fill(small)
	if waits > most || waits <= most-sayPackets { // the reader has not yet said what it read last
		t.Fatalf("%d small frames wait, want %d or a few less", waits, most)
	}
	expect(t, out, waits)
	if err := out.SetOffloads([]string{"csum", "tso4", "tso6"}); err != nil {
		t.Fatal(err)
	}
	if why := out.Info().Off[offloadQueue]; why != whySwitched {
		t.Fatalf("off: %q", why)
	}
	if n := fill(long); n <= most-sayPackets {
		t.Fatalf("%d super-frames wait without a bound, want %d or a few less", n, most)
	}
}

// TestARationIsNoTrap: where the kernel has lost all that may wait while the reader slept, so that it lets nothing in that would wake the
// reader, the reader finds out by itself.
func TestARationIsNoTrap(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed"})
	k := &out.queues[0]
	if k.look != recount {
		t.Fatalf("the reader sleeps for %v", k.look)
	}
	small := recipe{payload: 64}.packet()
	for n := 1; n > 0; { // the reader sleeps so soundly that it misses them all
		var err error
		if n, err = in.Write(0, []ether.Packet{small}); err != nil {
			t.Fatal(err)
		}
	}
	for _, packets := range []int{0, defaultTxQueue} { // what does not fit the kernel throws away
		if err := netlink.LinkSetTxQLen(findLink(t, "rationed"), packets); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := in.Write(0, []ether.Packet{small}); n > 0 || err != nil {
		t.Fatalf("%d frames went, error %v: nothing was lost", n, err)
	}
	k.look = time.Millisecond
	came := make(chan error, 1)
	go func() { came <- out.Read(0, NewBatch(1)) }()
	q, end := k.reckoning.tally, time.Now().Add(patience)
	for atomic.LoadUint64(&q.outPackets) != atomic.LoadUint64(&q.inPackets) && time.Now().Before(end) { // until it goes to sleep
		runtime.Gosched()
	}
	atomic.AddUint64(&q.inPackets, defaultTxQueue) // as the kernel did above, and threw them away
	for n := 0; n == 0; {
		var err error
		if n, err = in.Write(0, []ether.Packet{small}); err != nil || time.Now().After(end) {
			t.Fatalf("no frame is let in any more, error %v", err)
		}
	}
	if err := <-came; err != nil {
		t.Fatal(err)
	}
}

// TestARationOutlivesChanges: while frames of all lengths pour in and are read, the queue is made shorter and longer, its interface taken down and up,
// its MTU and its offloads changed. What the kernel loses by that closes no queue, and at rest nothing is thought to wait.
func TestARationOutlivesChanges(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed", MTU: 9000, Queues: 2})
	var readers, writer sync.WaitGroup
	var came atomic.Uint64
	for q := range out.queues {
		readers.Go(func() {
			for b := NewBatch(64); out.Read(q, b) == nil; {
				came.Add(uint64(len(b.Packets)))
			}
		})
	}
	stop := make(chan struct{})
	writer.Go(func() {
		dice := rand.New(rand.NewPCG(5, 6))
		for {
			select {
			case <-stop:
				return
			default:
			}
			recipes := []recipe{{payload: 64, udp: true, dstPort: uint16(dice.IntN(50))}, {payload: 8000}, {payload: 58_000, gso: 1448}}
			_, _ = in.Write(0, []ether.Packet{recipes[dice.IntN(3)].packet()}) // an interface that is down says so
		}
	})
	link := findLink(t, "rationed")
	for i := range 100 {
		var err error
		switch i % 10 {
		case 0, 1, 2, 3:
			err = netlink.LinkSetTxQLen(link, []int{1, 500, 0, 30}[i%4])
			out.Info()
		case 4:
			err = netlink.LinkSetDown(link)
		case 5:
			err = netlink.LinkSetUp(link)
		case 6:
			err = netlink.LinkSetMTU(link, 1500)
		case 7:
			err = netlink.LinkSetMTU(link, 9000)
		case 8:
			err = out.SetOffloads([]string{"csum"})
		case 9:
			err = out.SetOffloads([]string{"csum", "tso4", "tso6", offloadQueue})
		}
		if err != nil {
			t.Error(err)
		}
		for before := came.Load(); i%10 > 5 && came.Load() == before; { // it goes on meanwhile
			runtime.Gosched()
		}
	}
	if err := netlink.LinkSetTxQLen(link, defaultTxQueue); err != nil {
		t.Error(err)
	}
	out.Info()
	close(stop)
	writer.Wait()
	for q, end := 0, time.Now().Add(patience); q < len(out.queues); {
		tally := out.ration.of(q)
		if atomic.LoadUint64(&tally.inPackets) == atomic.LoadUint64(&tally.outPackets) && atomic.LoadUint64(&tally.inBytes) == atomic.LoadUint64(&tally.outBytes) {
			q++
		} else if time.Now().After(end) {
			t.Fatalf("queue %d: nothing comes, and yet the tally says %+v", q, *tally)
		}
		runtime.Gosched()
	}
	t.Logf("%d packets came, %v", came.Load(), out.Info().Drops)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
}

// TestARationThatWasReadAhead: a reader that starts afresh while the kernel has counted a frame in and not yet queued it reads more than was let in
// by its count. That is less than nothing that waits, and room.
func TestARationThatWasReadAhead(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed", MTU: 9000})
	q := out.ration.of(0)
	atomic.AddUint64(&q.outPackets, 3)
	atomic.AddUint64(&q.outBytes, 100_000)
	send(t, in, recipe{payload: 64}.packet(), recipe{payload: 8000}.packet())
	expect(t, out, 2)
}

// TestRationFollowsTheOwner: who makes the queue shorter or longer has what was asked for.
func TestRationFollowsTheOwner(t *testing.T) {
	_, out := openRationed(t, TAPConfig{Name: "rationed"})
	for _, packets := range []int{30, 800} {
		if err := netlink.LinkSetTxQLen(findLink(t, "rationed"), packets); err != nil {
			t.Fatal(err)
		}
		if _ = out.Info(); out.ration.of(0).maxPackets != fits(packets) {
			t.Fatalf("%d packets may wait, want %d", out.ration.of(0).maxPackets, fits(packets))
		}
	}
}

// TestRationOfQueues: each queue has a tally of its own, in which only what it carried is counted.
func TestRationOfQueues(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed", Queues: 4})
	used := map[int]bool{}
	for port := range uint16(64) { // the kernel chooses the queue by the flow
		send(t, in, recipe{udp: true, payload: 64, dstPort: 1000 + port}.packet())
		for q := range out.queues {
			k := &out.queues[q]
			waits := k.reckoning.tally.inPackets - k.reckoning.tally.outPackets
			if n := drain(k); uint64(n) != waits {
				t.Fatalf("%d frames were in queue %d, its tally said %d", n, q, waits)
			} else if n > 0 {
				used[q] = true
			}
		}
	}
	if len(used) < 2 {
		t.Fatalf("only queues %v were used", used)
	}
}

// TestRationOfQueuesHandedOver: of one queue it is plain which it is, of one among many it is not.
func TestRationOfQueuesHandedOver(t *testing.T) {
	openRationed(t, TAPConfig{Name: "rationed"}) // or skip
	for _, n := range []int{1, 2} {
		fds, _, err := openQueues("handed", n)
		if err != nil {
			t.Fatal(err)
		}
		p, err := TAPFromFDs("vm", fds)
		if err != nil {
			t.Fatal(err)
		}
		if why, bounded := p.Info().Off[offloadQueue], p.(*tap).ration.of(0) != nil; bounded != (n == 1) || bounded != (why == "") {
			t.Errorf("%d queues: bounded: %v, off because %q", n, bounded, why)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestARationEndsWithItsPort: whoever has the queue after a port, or after a daemon that was killed, gets all that is sent.
func TestARationEndsWithItsPort(t *testing.T) {
	openRationed(t, TAPConfig{Name: "rationed"}) // or skip
	owner, name, err := openQueue("handed", tapFlags|unix.IFF_MULTI_QUEUE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(owner)
	if err := netlink.LinkSetUp(findLink(t, name)); err != nil {
		t.Fatal(err)
	}
	handOver := func() *tap {
		t.Helper()
		fd, err := unix.FcntlInt(uintptr(owner), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := TAPFromFDs("vm", []int{fd})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p.(*tap)
	}
	in := openTestLAN(t, name)
	all := func(when string) {
		t.Helper()
		const frames = 2500 // more than fit the ring of a TAP that nobody has set up
		came, space := 0, make([]byte, 2000)
		for range frames {
			send(t, in, recipe{payload: 64}.packet())
			for n, err := 0, error(nil); err == nil; {
				if n, err = unix.Read(owner, space); n > frameAt && ether.Frame(space[ether.OffloadLen:n]).Src() == macA {
					came++
				}
			}
		}
		if came != frames {
			t.Fatalf("%s %d frames came of %d", when, came, frames)
		}
	}
	for _, end := range []struct {
		when string
		do   func(p *tap) error
	}{
		{"after a port was closed", (*tap).Close},
		{"after a daemon was killed", func(*tap) error { handOver(); return nil }}, // to one that sets no bound
	} {
		p := handOver()
		p.allot(defaultQueueBytes, 1000)
		if p.ration.of(0) == nil {
			t.Fatal(p.ration.lacks)
		}
		if err := end.do(p); err != nil {
			t.Fatal(err)
		}
		all(end.when)
	}
}

// TestRationOfTaggedFrames: a tag that lies beside the frame, where the kernel's own VLAN interfaces and bridges put it, is read with it and counts.
func TestRationOfTaggedFrames(t *testing.T) {
	in, out := openRationed(t, TAPConfig{Name: "rationed"})
	link := findLink(t, "rationed")
	hook := &netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}, QdiscType: "clsact"}
	if err := netlink.QdiscAdd(hook); err != nil {
		t.Skipf("nothing here tags frames: %v", err)
	}
	const pushVLAN = 18 // BPF_FUNC_skb_vlan_push
	code := []insn{
		set(r2, 0x0081), // 802.1Q, as the network has it
		set(3, 7),
		ins(unix.BPF_JMP|unix.BPF_CALL, 0, 0, 0, pushVLAN),
		set(r0, 0),
		exit(),
	}
	program, err := loadProgram(unix.BPF_PROG_TYPE_SCHED_CLS, code)
	if err != nil {
		t.Skipf("nothing here tags frames: %v", err)
	}
	defer unix.Close(program)
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          program, Name: "tag", DirectAction: true,
	}
	if err := netlink.FilterAdd(filter); err != nil {
		t.Skipf("nothing here tags frames: %v", err)
	}
	k, p := &out.queues[0], recipe{payload: 100}.packet()
	before := k.reckoning.tally.inBytes
	send(t, in, p)
	b := NewBatch(1)
	if err := receiveTAP(k, b); err != nil || len(b.Packets) != 1 {
		t.Fatalf("%d packets, %v", len(b.Packets), err)
	}
	got := b.Packets[0].Frame
	if len(got) != len(p.Frame)+ether.TagLen {
		t.Fatalf("%d bytes were read of a frame of %d that was tagged", len(got), len(p.Frame))
	}
	if counted := k.reckoning.tally.inBytes - before; counted != uint64(len(got)) {
		t.Fatalf("the kernel counted %d bytes, %d were read", counted, len(got))
	}
}
