package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// UDP as applications with UDP_SEGMENT and UDP_GRO use it: many datagrams a call at either end.

const (
	pilePort  = 7878
	pileCount = 40  // datagrams a call
	pileEach  = 500 // bytes of each
)

// pileReport is what the receiver of piles prints at SIGTERM.
type pileReport struct {
	Calls     int `json:"calls"`     // that brought something
	Datagrams int `json:"datagrams"` //
	Wrong     int `json:"wrong"`     // with other bytes than were sent
	Late      int `json:"late"`      // behind one with a higher number
}

// pile writes datagram number n.
func pile(b []byte, n int) {
	binary.BigEndian.PutUint64(b, uint64(n))
	for i := 8; i < len(b); i++ {
		b[i] = byte(n*7 + i*13)
	}
}

// sendPiles: pile-send ADDR CALLS SEGMENT. It makes so many calls of 40 datagrams with UDP_SEGMENT, or as many with one each.
func sendPiles(args []string) int {
	var calls int
	var segment bool
	if _, err := fmt.Sscan(args[1]+" "+args[2], &calls, &segment); err != nil {
		return 2
	}
	conn, err := net.Dial("udp", args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err == nil && segment {
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, pileEach) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	buf := make([]byte, pileCount*pileEach)
	for call := range calls {
		for i := range pileCount {
			pile(buf[i*pileEach:(i+1)*pileEach], call*pileCount+i)
		}
		if segment {
			conn.Write(buf) // what a full queue loses the receiver sees
		} else {
			for i := range pileCount {
				conn.Write(buf[i*pileEach : (i+1)*pileEach])
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0
}

// seePiles: pile-see. It takes datagrams with UDP_GRO and prints a pileReport at SIGTERM.
func seePiles([]string) int {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: pilePort})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	conn.SetReadBuffer(4 << 20)
	raw, err := conn.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { <-stop; conn.Close() }()
	fmt.Println("listening")
	var r pileReport
	buf, oob, want, highest := make([]byte, 65536), make([]byte, 64), make([]byte, pileEach), -1
	for {
		n, oobn, _, _, err := conn.ReadMsgUDP(buf, oob)
		if err != nil {
			break
		}
		r.Calls++
		each := n
		if list, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(list) == 1 && list[0].Header.Type == unix.UDP_GRO {
			each = int(binary.NativeEndian.Uint32(list[0].Data))
		}
		for rest := buf[:n]; len(rest) > 0; {
			d := rest[:min(each, len(rest))]
			rest = rest[len(d):]
			r.Datagrams++
			if len(d) != pileEach {
				r.Wrong++
				continue
			}
			number := int(binary.BigEndian.Uint64(d))
			if pile(want, number); string(want) != string(d) {
				r.Wrong++
			}
			if number < highest {
				r.Late++
			}
			highest = max(highest, number)
		}
	}
	json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

// TestDatagramsOfACallArriveAsOne: datagrams that a guest sends with one call reach another guest's UDP_GRO as few, through udp, tcp
// and the Proxy, and those of ordinary calls too; where the receiving port has no USO they arrive alone. All of them, with their
// bytes, in order.
func TestDatagramsOfACallArriveAsOne(t *testing.T) {
	w := start(t, `
name: piles
sites: [{name: here}]
hosts: [{name: host1, site: here}, {name: host2, site: here}, {name: proxy, site: here}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`)
	w.vnet("proxy", "adapt", "mode", "observe")
	w.run("vm1", "ping", "-c", "1", "-W", "2", w.Address("vm2").String())
	const calls = 100
	rounds := []struct {
		name    string
		before  []string // a host, and a command there
		segment bool
		atMost  int // calls of the receiver, of 4,000 datagrams
	}{
		{"UDP_SEGMENT", nil, true, 4 * calls},
		{"ordinary calls", nil, false, pileCount / 2 * calls},
		{"UDP_SEGMENT, the receiver's port without USO", []string{"host2", "offload", "uso", "off"}, true, pileCount * calls},
		{"UDP_SEGMENT, with USO again, from udp to tcp at the Proxy, which has no port", []string{"host2", "link", "carrier", "proxy", "tcp"}, true, pileCount * calls},
		{"UDP_SEGMENT over tcp all the way", []string{"host1", "link", "carrier", "proxy", "tcp"}, true, 4 * calls},
	}
	for _, row := range rounds {
		if row.before != nil {
			w.vnet(row.before[0], row.before[1:]...)
		}
		var said output
		see := w.spawn("vm2", lab.CmdOptions{Name: "pile-see", Stdout: &said}, lab.Self)
		w.eventually(5*time.Second, "the receiver listens", func() bool { return said.String() != "" })
		send := w.spawn("vm1", lab.CmdOptions{Name: "pile-send"}, lab.Self, fmt.Sprintf("%s:%d", w.Address("vm2"), pilePort), fmt.Sprint(calls), fmt.Sprint(row.segment))
		<-send.Done()
		time.Sleep(300 * time.Millisecond)
		see.Signal(syscall.SIGTERM)
		<-see.Done()
		var r pileReport
		if err := json.Unmarshal([]byte(said.String()[len("listening\n"):]), &r); err != nil {
			t.Fatalf("the receiver said %q: %v", said.String(), err)
		}
		t.Logf("%s: %+v", row.name, r)
		if r.Datagrams != calls*pileCount || r.Wrong > 0 || r.Late > 0 {
			t.Errorf("%s: %+v, want %d datagrams", row.name, r, calls*pileCount)
		}
		if r.Calls > row.atMost {
			t.Errorf("%s: %d calls brought %d datagrams", row.name, r.Calls, r.Datagrams)
		}
		w.vnet("host2", "offload", "uso", "on")
	}
}
