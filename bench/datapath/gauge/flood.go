package gauge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// seal is what begins every datagram: which flood it is of (4 bytes), and its number (8).
	seal = 12
	// drain is how long nothing must have come until what is missing counts as lost.
	drain = 60 * time.Millisecond
	// nap is the least that a paced sender sleeps: datagrams that fall due meanwhile go out together, as those of
	// any program that waits do.
	nap = 50 * time.Microsecond
)

// Flood is datagrams of one size from A to B.
type Flood struct {
	Payload  int     // bytes of UDP payload, at least 12
	Segments int     // datagrams a call (UDP_SEGMENT); 0 and 1 are ordinary calls
	Rate     float64 // datagrams a second; 0 is as many as the sender can
	Long     time.Duration
}

// Arrived is what became of a flood.
type Arrived struct {
	Sent, Received, Damaged int64
	Seconds                 float64
}

// Loss is the share that did not arrive.
func (a Arrived) Loss() float64 {
	if a.Sent == 0 {
		return 1
	}
	return 1 - float64(a.Received)/float64(a.Sent)
}

// Rate is what arrived, in datagrams a second.
func (a Arrived) Rate() float64 { return float64(a.Received) / a.Seconds }

// flooder is a pair of sockets and what the receiver counts.
type flooder struct {
	sender, receiver int
	pattern          []byte
	flood            atomic.Uint32 // the one that is counted
	received         atomic.Int64
	damaged          atomic.Int64
	stop             atomic.Bool
	done             chan struct{}
}

func (g Between) flooder() (*flooder, error) {
	sender, receiver, err := g.pair(udpPort)
	if err != nil {
		return nil, err
	}
	f := &flooder{sender: sender, receiver: receiver, done: make(chan struct{}), pattern: make([]byte, 64<<10)}
	for i := range f.pattern {
		f.pattern[i] = byte(i * 167 >> 3)
	}
	go f.receive()
	return f, nil
}

func (f *flooder) close() {
	f.stop.Store(true)
	<-f.done
	unix.Close(f.sender)
	unix.Close(f.receiver)
}

// body is what follows the seal of datagram n.
func (f *flooder) body(n uint64, length int) []byte { return f.pattern[n&0xff:][:length] }

// receive reads one datagram a call and looks at every byte.
func (f *flooder) receive() {
	runtime.LockOSThread()
	defer close(f.done)
	buf := make([]byte, 64<<10)
	for !f.stop.Load() {
		n, err := unix.Read(f.receiver, buf)
		if err != nil {
			if nothingYet(err) {
				continue
			}
			return
		}
		if n < seal || binary.LittleEndian.Uint32(buf) != f.flood.Load() {
			continue // of an earlier flood
		}
		if bytes.Equal(buf[seal:n], f.body(binary.LittleEndian.Uint64(buf[4:]), n-seal)) {
			f.received.Add(1)
		} else {
			f.damaged.Add(1)
		}
	}
}

// run sends one flood and waits for what arrives of it.
func (f *flooder) run(fl Flood) (Arrived, error) {
	f.received.Store(0)
	f.damaged.Store(0)
	f.flood.Add(1)
	sent, took, err := f.send(fl)
	if err != nil {
		return Arrived{}, err
	}
	for last, since := int64(-1), time.Now(); f.received.Load() < sent && time.Since(since) < drain; time.Sleep(time.Millisecond) {
		if now := f.received.Load(); now != last {
			last, since = now, time.Now()
		}
	}
	a := Arrived{Sent: sent, Received: f.received.Load(), Damaged: f.damaged.Load(), Seconds: took.Seconds()}
	if a.Damaged > 0 {
		return a, fmt.Errorf("corrupted: %d of %d datagrams are not what was sent", a.Damaged, a.Sent)
	}
	return a, nil
}

// send is the sender: one system call a datagram, or one for as many as Segments says.
func (f *flooder) send(fl Flood) (sent int64, took time.Duration, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // ends with the goroutine, and the timer slack with it
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		sent, took, err = f.sendPaced(fl)
	}()
	<-done
	return sent, took, err
}

func (f *flooder) sendPaced(fl Flood) (sent int64, took time.Duration, err error) {
	each := int64(max(1, fl.Segments))
	cut := 0
	if each > 1 {
		cut = fl.Payload
	}
	if err := unix.SetsockoptInt(f.sender, unix.SOL_UDP, unix.UDP_SEGMENT, cut); err != nil {
		return 0, 0, fmt.Errorf("cannot use UDP_SEGMENT: %w", err)
	}
	buf := make([]byte, int(each)*fl.Payload)
	began := time.Now()
	for {
		took = time.Since(began)
		if took >= fl.Long {
			return sent, took, nil
		}
		due := sent + 64*each // unpaced: look at the clock now and then
		if fl.Rate > 0 {
			due = int64(fl.Rate * took.Seconds())
		}
		for ; sent < due; sent += each {
			for i := range each {
				f.write(buf[int(i)*fl.Payload:][:fl.Payload], uint64(sent+i))
			}
			if _, err := unix.Write(f.sender, buf); err != nil {
				return sent, took, fmt.Errorf("cannot send: %w", err)
			}
		}
		if fl.Rate > 0 {
			wait := max(nap, time.Duration(float64(sent+each)/fl.Rate*1e9)-time.Since(began))
			ts := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&ts, nil) // woken early, it looks at the clock again
		}
	}
}

func (f *flooder) write(to []byte, n uint64) {
	binary.LittleEndian.PutUint32(to, f.flood.Load())
	binary.LittleEndian.PutUint64(to[4:], n)
	copy(to[seal:], f.body(n, len(to)-seal))
}

// Flood sends one flood and says what became of it.
func (g Between) Flood(fl Flood) (Arrived, error) {
	f, err := g.flooder()
	if err != nil {
		return Arrived{}, err
	}
	defer f.close()
	return f.run(fl)
}

// Lossless searches for the highest rate at which less than the share loss of a flood is lost. Each try lasts fl.Long;
// one that fails is made twice, as a machine that was elsewhere for a moment is not the path.
func (g Between) Lossless(fl Flood, loss float64, tries int) (float64, error) {
	f, err := g.flooder()
	if err != nil {
		return 0, err
	}
	defer f.close()
	fl.Rate = 0
	full, err := f.run(fl)
	if err != nil || full.Loss() < loss {
		return full.Rate(), err
	}
	var low float64
	high := float64(full.Sent) / full.Seconds
	try := min(full.Rate(), high*0.98)
	for range tries {
		fl.Rate = try
		a, err := f.run(fl)
		if err == nil && a.Loss() >= loss {
			a, err = f.run(fl)
		}
		if err != nil {
			return 0, err
		}
		if a.Loss() < loss {
			low = max(low, a.Rate())
			if try = (try + high) / 2; low < fl.Rate*0.97 {
				break // the sender can do no more
			}
			continue
		}
		high = try
		try = max((low+high)/2, high/2)
	}
	return low, nil
}
