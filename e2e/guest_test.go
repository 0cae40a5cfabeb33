package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// A guest that migrates is two namespaces with the same MAC and address on two hosts, of which one is awake: its interface is
// up. A move puts one to sleep and wakes the other, which announces itself as hypervisors do. Both receive a numbered stream.

// guestReport is what a guest prints when it ends (SIGTERM).
type guestReport struct {
	Received   [][2]int // first and last number of each run
	Duplicates int
	Woke       []int64 // Unix ns
	Slept      []int64
}

// guest is the memory of the role.
type guest struct {
	mu     sync.Mutex // guards the following
	report guestReport
	seen   map[int]bool
	awake  bool
}

// beGuest: guest --sends-to ADDRESS. SIGUSR1 wakes it, SIGHUP wakes it without an announcement, SIGUSR2 puts it to sleep.
func beGuest(args []string) int {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return complain(err)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: streamPort})
	if err != nil {
		return complain(err)
	}
	conn.SetReadBuffer(4 << 20)
	g := &guest{seen: map[int]bool{}, awake: eth0.Attrs().Flags&net.FlagUp != 0}
	orders := make(chan os.Signal, 8)
	signal.Notify(orders, syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGTERM)
	go g.receive(conn)
	go g.chatter(conn, netip.AddrPortFrom(netip.MustParseAddr(args[0]), streamPort+1))
	fmt.Println("ready")
	for order := range orders {
		switch order {
		case syscall.SIGUSR1, syscall.SIGHUP:
			err = g.wake(eth0, order == syscall.SIGUSR1)
		case syscall.SIGUSR2:
			err = g.sleep(eth0)
		default:
			g.mu.Lock()
			defer g.mu.Unlock()
			json.NewEncoder(os.Stdout).Encode(g.report)
			return 0
		}
		if err != nil {
			return complain(err)
		}
	}
	return 0
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func (g *guest) receive(conn *net.UDPConn) {
	buf := make([]byte, 65536)
	for {
		n, err := conn.Read(buf)
		if err != nil || n < 16 {
			continue
		}
		number := int(binary.BigEndian.Uint64(buf))
		g.mu.Lock()
		runs := g.report.Received
		switch last := len(runs) - 1; {
		case g.seen[number]:
			g.report.Duplicates++
		case last >= 0 && runs[last][1] == number-1:
			runs[last][1] = number
		default:
			g.report.Received = append(runs, [2]int{number, number})
		}
		g.seen[number] = true
		g.mu.Unlock()
	}
}

// chatter sends a little all the time while the guest is awake, as most guests do.
func (g *guest) chatter(conn *net.UDPConn, to netip.AddrPort) {
	for range time.Tick(20 * time.Millisecond) {
		g.mu.Lock()
		awake := g.awake
		g.mu.Unlock()
		if awake {
			conn.WriteToUDPAddrPort([]byte("hello"), to)
		}
	}
}

func (g *guest) wake(eth0 netlink.Link, announced bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := netlink.LinkSetUp(eth0); err != nil {
		return err
	}
	g.awake = true
	g.report.Woke = append(g.report.Woke, time.Now().UnixNano())
	if !announced {
		return nil
	}
	addrs, err := netlink.AddrList(eth0, netlink.FAMILY_V4)
	if err != nil || len(addrs) == 0 {
		return errors.Join(err, errors.New("eth0 has no address"))
	}
	if err := announce(eth0, addrs[0].IP); err != nil {
		return err
	}
	go func() { // again, as hypervisors do: the first may be lost
		for _, wait := range []time.Duration{50, 100, 200} {
			time.Sleep(wait * time.Millisecond)
			announce(eth0, addrs[0].IP)
		}
	}()
	return nil
}

func (g *guest) sleep(eth0 netlink.Link) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.awake = false
	err := netlink.LinkSetDown(eth0)
	g.report.Slept = append(g.report.Slept, time.Now().UnixNano())
	return err
}

// announce broadcasts a gratuitous ARP request (RFC 5227 §3).
func announce(eth0 netlink.Link, ip net.IP) error {
	mac := eth0.Attrs().HardwareAddr
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	frame = append(append(frame, mac...), ip.To4()...)
	frame = append(append(frame, 0, 0, 0, 0, 0, 0), ip.To4()...)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Attrs().Index})
}

// guestProc is a guest under way.
type guestProc struct {
	w    *world
	proc *lab.Proc
	said *output
}

func (w *world) guest(vm, sendsTo string) *guestProc {
	w.Helper()
	g := &guestProc{w: w, said: &output{}}
	g.proc = w.spawn(vm, lab.CmdOptions{Name: "guest", Stdout: g.said, Stderr: g.said}, lab.Self, w.Address(sendsTo).String())
	w.eventually(5*time.Second, "the guest is ready", func() bool { return g.said.String() != "" })
	return g
}

// end stops the guest and returns what it saw.
func (g *guestProc) end() (r guestReport) {
	g.w.Helper()
	g.proc.Signal(syscall.SIGTERM)
	<-g.proc.Done()
	text := g.said.String()
	if err := json.Unmarshal([]byte(text[min(len(text), len("ready\n")):]), &r); err != nil {
		g.w.Fatalf("the guest in %s said %q: %v", g.proc.In, text, err)
	}
	return r
}
