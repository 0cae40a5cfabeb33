package link

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm wakes one goroutine at a time that others may change.
type alarm interface {
	// Set has Wait return at a time, instead of any that was set before. Safe from any goroutine.
	Set(at time.Time)
	// Wait returns true when the time has come, false when the alarm is closed.
	Wait() bool
	Close()
}

// newAlarm is the kernel's timer where frames go through the kernel too, and else one of Go's, which may be simulated.
func (e *Endpoint) newAlarm() alarm {
	if _, ok := e.cfg.Net.(Kernel); ok {
		if a, err := newKernelAlarm(); err == nil {
			return a
		}
	}
	return &plainAlarm{timer: time.NewTimer(0), closed: make(chan struct{})}
}

// plainAlarm is a timer of Go.
type plainAlarm struct {
	timer  *time.Timer
	closed chan struct{}
}

func (a *plainAlarm) Set(at time.Time) { a.timer.Reset(time.Until(at)) }

func (a *plainAlarm) Wait() bool {
	select {
	case <-a.closed:
	case <-a.timer.C:
		select {
		case <-a.closed: // and set once more since
		default:
			return true
		}
	}
	return false
}

func (a *plainAlarm) Close() {
	a.timer.Stop()
	close(a.closed)
}

// kernelAlarm is a timerfd in Go's network poller. A timer of Go costs an idle process several times as much: the poller counts
// in whole milliseconds and wakes up once before the time and once after it; the scheduler's watchman (sysmon) sleeps until the
// same time and then looks every 20 µs whether somebody has come; and who is woken wakes one more thread that finds nothing to
// do. An event of the poller costs the one wake-up.
type kernelAlarm struct {
	file *os.File
	raw  syscall.RawConn
}

func newKernelAlarm() (*kernelAlarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &kernelAlarm{file: os.NewFile(uintptr(fd), "timerfd")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		a.file.Close()
		return nil, err
	}
	a.Set(time.Now())
	return a, nil
}

func (a *kernelAlarm) Set(at time.Time) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(1, time.Until(at))))} // 0 would be never
	_ = a.raw.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
}

func (a *kernelAlarm) Wait() bool {
	var times uint64
	return a.raw.Read(func(fd uintptr) bool {
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&times)), unsafe.Sizeof(times))
		return errno != unix.EAGAIN
	}) == nil
}

func (a *kernelAlarm) Close() { a.file.Close() }

// every has Wait return at intervals from now on.
func (a *kernelAlarm) every(d time.Duration) {
	at := unix.NsecToTimespec(int64(max(1, d)))
	spec := unix.ItimerSpec{Interval: at, Value: at}
	_ = a.raw.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
}

// Ticker is a time.Ticker that costs an idle process little. One goroutine uses it.
type Ticker struct {
	C <-chan time.Time // has room for one, as a time.Ticker's

	plain  *time.Ticker // nil where there is an alarm
	alarm  *kernelAlarm
	closed chan struct{} // by the goroutine that waits for the alarm
}

// NewTicker makes one for a daemon on a network: where that is simulated, so is the time. It must be stopped.
func NewTicker(on Net, d time.Duration) *Ticker {
	var alarm *kernelAlarm
	if _, ok := on.(Kernel); ok {
		alarm, _ = newKernelAlarm() // without one Go's will do
	}
	if alarm == nil {
		t := time.NewTicker(d)
		return &Ticker{C: t.C, plain: t}
	}
	c := make(chan time.Time, 1)
	t := &Ticker{C: c, alarm: alarm, closed: make(chan struct{})}
	alarm.every(d)
	go func() {
		defer close(t.closed)
		for alarm.Wait() {
			select {
			case c <- time.Now():
			default: // it has not been looked at yet
			}
		}
	}()
	return t
}

// Reset begins anew with another interval.
func (t *Ticker) Reset(d time.Duration) {
	if t.plain != nil {
		t.plain.Reset(d)
		return
	}
	t.alarm.every(d)
}

// Stop ends it.
func (t *Ticker) Stop() {
	if t.plain != nil {
		t.plain.Stop()
		return
	}
	t.alarm.Close()
	<-t.closed
}
