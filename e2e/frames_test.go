package e2e

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// Frames are sent and seen raw, below IP: the kernel of a test machine may know neither VLANs nor bridges' secrets.

const (
	// markType is the EtherType of frames that carry a mark: the second for local experiments (IEEE 802).
	markType = 0x88b6
	// underlayPort is the UDP and TCP port of the overlay called vnet.
	underlayPort = 4747
)

// seen is what came in at an interface while somebody looked.
type seen struct {
	Frames    int            `json:"frames"`
	Underlay  int            `json:"underlay"`  // UDP and TCP from or to the overlay's own port
	Strangers int            `json:"strangers"` // unicast for another MAC
	Marked    map[string]int `json:"marked"`    // by mark, with "@VLAN" behind it when the frame had an 802.1Q tag
	Late      uint32         `json:"late"`      // frames the looker was too slow for
}

func (s *seen) count(f ether.Frame, own ether.MAC, tag int) {
	s.Frames++
	if !f.Dst().IsGroup() && f.Dst() != own {
		s.Strangers++
	}
	if f.EtherType() == ether.TypeVLAN || len(f) < f.L3() {
		return
	}
	b := f[f.L3():]
	switch f.EtherType() {
	case ether.TypeIPv4:
		if head := int(b[0]&15) * 4; len(b) >= head+4 && (b[9] == unix.IPPROTO_UDP || b[9] == unix.IPPROTO_TCP) &&
			(binary.BigEndian.Uint16(b[head:]) == underlayPort || binary.BigEndian.Uint16(b[head+2:]) == underlayPort) {
			s.Underlay++
		}
	case markType:
		mark, _, _ := strings.Cut(string(b), "\x00")
		if f.L3() > ether.HeaderLen { // the tag is in the bytes
			tag = int(binary.BigEndian.Uint16(f[ether.HeaderLen:]))
		}
		if tag >= 0 {
			mark = fmt.Sprintf("%s@%d", mark, tag)
		}
		s.Marked[mark]++
	}
}

// seeFrames: frame-see [--on INTERFACE]. It prints what it saw when it is told to stop (SIGTERM).
func seeFrames(args []string) int {
	fs := flag.NewFlagSet("frame-see", flag.ContinueOnError)
	on := fs.String("on", "eth0", "interface")
	if fs.Parse(args) != nil {
		return 2
	}
	fd, own, err := rawSocket(*on)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	var stopping atomic.Bool
	go func() { <-stop; stopping.Store(true) }()
	fmt.Println("listening")
	s := seen{Marked: map[string]int{}}
	for b, oob := make([]byte, 256), make([]byte, 256); !stopping.Load(); {
		n, control, _, from, err := unix.Recvmsg(fd, b, oob, 0)
		at, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok || at.Pkttype == unix.PACKET_OUTGOING || n < ether.HeaderLen {
			continue
		}
		s.count(ether.Frame(b[:n]), own, tagOf(oob[:control]))
	}
	if stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		s.Late = stats.Drops
	}
	json.NewEncoder(os.Stdout).Encode(s)
	return 0
}

// tagOf is the 802.1Q tag that the kernel took out of a frame, or -1.
func tagOf(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 {
			if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 { // struct tpacket_auxdata: status, …
				return int(binary.NativeEndian.Uint16(m.Data[16:])) // … tp_vlan_tci
			}
		}
	}
	return -1
}

// rawSocket reads and writes all frames of an interface. Reading gives up every 100 ms.
func rawSocket(name string) (fd int, mac ether.MAC, err error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, mac, err
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
		return 0, mac, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(i.Index), Type: unix.PACKET_MR_PROMISC})
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	return fd, ether.MAC(i.HardwareAddr), err
}

// sendFrames: frame-send --to MAC --mark TEXT [--vlan N] [--count N] [--every TIME] [--on INTERFACE] [--src MAC].
func sendFrames(args []string) int {
	fs := flag.NewFlagSet("frame-send", flag.ContinueOnError)
	on := fs.String("on", "eth0", "interface")
	to := fs.String("to", "ff:ff:ff:ff:ff:ff", "destination")
	from := fs.String("src", "", "source, if not the interface's own")
	mark := fs.String("mark", "", "text inside")
	vlan := fs.Int("vlan", -1, "802.1Q tag")
	count := fs.Int("count", 1, "how many")
	every := fs.Duration("every", 10*time.Millisecond, "time between two")
	if fs.Parse(args) != nil {
		return 2
	}
	fd, src, err := rawSocket(*on)
	if err == nil && *from != "" {
		src, err = ether.ParseMAC(*from)
	}
	dst, bad := ether.ParseMAC(*to)
	if err != nil || bad != nil {
		fmt.Fprintln(os.Stderr, err, bad)
		return 1
	}
	f := append(append([]byte{}, dst[:]...), src[:]...)
	if *vlan >= 0 {
		f = binary.BigEndian.AppendUint16(f, ether.TypeVLAN)
		f = binary.BigEndian.AppendUint16(f, uint16(*vlan))
	}
	f = append(binary.BigEndian.AppendUint16(f, markType), *mark...)
	f = append(f, make([]byte, max(5, 60-len(f)))...)
	for i := range *count {
		binary.BigEndian.PutUint32(f[len(f)-4:], uint32(i)+1) // no two are alike: who hears one again hears an echo
		if _, err := unix.Write(fd, f); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		time.Sleep(*every)
	}
	return 0
}

// lookout sees the frames that come in at an interface until it is asked.
type lookout struct {
	w    *world
	proc *lab.Proc
	out  *output
}

func (w *world) look(in string, args ...string) *lookout {
	w.Helper()
	l := &lookout{w: w, out: &output{}}
	l.proc = w.spawn(in, lab.CmdOptions{Name: "frame-see", Stdout: l.out, Stderr: l.out}, append([]string{lab.Self}, args...)...)
	w.eventually(5*time.Second, "somebody looks at the frames of "+in, func() bool { return l.out.String() != "" })
	return l
}

// report waits for what is under way and says what was seen.
func (l *lookout) report() (s seen) {
	l.w.Helper()
	time.Sleep(200 * time.Millisecond)
	l.proc.Signal(syscall.SIGTERM)
	<-l.proc.Done()
	text := strings.TrimPrefix(l.out.String(), "listening\n")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		l.w.Fatalf("who looked at the frames of %s said %q: %v", l.proc.In, text, err)
	}
	return s
}

// role runs a role of this test binary to its end and returns what it printed.
func (w *world) role(in, name string, args ...string) string {
	w.Helper()
	var out, complaint output
	p := w.spawn(in, lab.CmdOptions{Name: name, Stdout: &out, Stderr: &complaint}, append([]string{lab.Self}, args...)...)
	if exit, err := p.Wait(); err != nil || !exit.Success() {
		w.Fatalf("%s in %s: %v, %v, %s", name, in, exit, err, complaint.String())
	}
	return out.String()
}
