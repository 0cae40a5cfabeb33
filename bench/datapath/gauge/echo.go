package gauge

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// request is the bytes of a request and of its response.
const request = 64

// apart keeps this thread on the first processor it may use, or with -1 on the last: two guests of two hosts never share
// one, and where the kernel puts both side by side, no wake-up crosses and the wire alone looks four times as fast.
func apart(which int) {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil || may.Count() < 2 {
		return // then they share it
	}
	var usable []int
	for cpu := range 1024 {
		if may.IsSet(cpu) {
			usable = append(usable, cpu)
		}
	}
	var one unix.CPUSet
	one.Set(usable[(which+len(usable))%len(usable)])
	_ = unix.SchedSetaffinity(0, &one) // where it is forbidden the kernel places them
}

// Responses asks B from A, one request after the other, and returns how long each took.
func (g Between) Responses(count int) ([]time.Duration, error) {
	client, server, err := g.pair(udpPort + 1)
	if err != nil {
		return nil, err
	}
	defer unix.Close(client)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(server)
		runtime.LockOSThread() // ends with the goroutine, and the affinity with it
		apart(-1)
		echo(server, &stop)
	}()
	defer func() { stop.Store(true); <-done }()
	var took []time.Duration
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		runtime.LockOSThread()
		apart(0)
		took, err = ask(client, count)
	}()
	<-asked
	return took, err
}

// echo answers until it is told to stop.
func echo(fd int, stop *atomic.Bool) {
	buf := make([]byte, 2048)
	for !stop.Load() {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			if nothingYet(err) {
				continue
			}
			return
		}
		_ = unix.Sendto(fd, buf[:n], 0, from) // an answer that gets lost is asked for again
	}
}

// ask is the asking side; what is lost is asked again and takes as long as it takes.
func ask(fd, count int) ([]time.Duration, error) {
	took := make([]time.Duration, 0, count)
	out, in := make([]byte, request), make([]byte, 2048)
	misses := 0
	for i := range count {
		binary.LittleEndian.PutUint64(out, uint64(i)+1)
		began := time.Now()
		if _, err := unix.Write(fd, out); err != nil {
			return nil, fmt.Errorf("cannot ask: %w", err)
		}
		for {
			n, err := unix.Read(fd, in)
			if err == nil && n == request && binary.LittleEndian.Uint64(in) == uint64(i)+1 {
				break
			}
			if err != nil && !nothingYet(err) {
				return nil, fmt.Errorf("cannot hear the answer: %w", err)
			}
			if err != nil {
				if misses++; misses > 100 {
					return nil, fmt.Errorf("cannot hear answers: %d requests are lost", misses)
				}
				_, _ = unix.Write(fd, out) // the next read says if it did not work
			}
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// Pings sends an echo request every interval from A to an address, and returns the round trips of those answered.
func (g Between) Pings(ctx context.Context, from string, to netip.Addr, interval time.Duration, count int) ([]time.Duration, error) {
	text, err := g.Stage.Run(ctx, from, "ping", "-n", "-i", fmt.Sprintf("%.3f", interval.Seconds()), "-c", fmt.Sprint(count), "-W", "1", to.String())
	took := parsePings(text)
	if len(took) == 0 {
		return nil, fmt.Errorf("cannot ping: %w", err)
	}
	return took, nil // some may have been lost
}

func parsePings(text string) (took []time.Duration) {
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(line, "time=")
		var ms float64
		if n, _ := fmt.Sscanf(rest, "%g ms", &ms); ok && n == 1 {
			took = append(took, time.Duration(ms*float64(time.Millisecond)))
		}
	}
	return took
}
