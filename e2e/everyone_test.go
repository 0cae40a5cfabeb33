package e2e

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// everyonePort is where all VMs hear all others.
const everyonePort = 7779

// heardFrom is what one VM got of another's numbered packets.
type heardFrom struct {
	Sent       int `json:"sent"`     // to it
	Received   int `json:"received"` // from it
	Duplicates int `json:"duplicates"`
}

// everyone: everyone --self N --peers ADDR,ADDR… --rates N,N… . It sends numbered packets to every peer at its rate, counts what
// comes from them, and at SIGTERM stops sending, listens on for two seconds and prints a heardFrom a peer.
func everyone(args []string) int {
	fs := flag.NewFlagSet("everyone", flag.ContinueOnError)
	self := fs.Int("self", 0, "which of the peers this is")
	peers := fs.String("peers", "", "addresses")
	rates := fs.String("rates", "", "packets a second to each")
	if fs.Parse(args) != nil {
		return 2
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: everyonePort})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	conn.SetReadBuffer(8 << 20)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	list := strings.Split(*peers, ",")
	sum := make([]heardFrom, len(list))
	var reading sync.WaitGroup
	reading.Go(func() { hear(conn, sum) })
	fmt.Println("listening")
	time.Sleep(time.Second) // until all others listen
	tell(conn, *self, list, strings.Split(*rates, ","), sum, stop)
	time.Sleep(2 * time.Second)
	conn.Close()
	reading.Wait()
	json.NewEncoder(os.Stdout).Encode(sum)
	return 0
}

// tell sends what is due, every few milliseconds, until it is told to stop.
func tell(conn *net.UDPConn, self int, peers, rates []string, sum []heardFrom, stop <-chan os.Signal) {
	began := time.Now()
	packet := make([]byte, 64)
	binary.BigEndian.PutUint16(packet, uint16(self))
	for {
		for i, p := range peers {
			if i == self {
				continue
			}
			rate, _ := strconv.Atoi(rates[i])
			at := &net.UDPAddr{IP: net.ParseIP(p), Port: everyonePort}
			for due := int(time.Since(began).Seconds() * float64(rate)); sum[i].Sent < due; {
				binary.BigEndian.PutUint64(packet[8:], uint64(sum[i].Sent))
				if _, err := conn.WriteToUDP(packet, at); err != nil {
					break // this end's own queue is full; what was not sent was not lost
				}
				sum[i].Sent++
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func hear(conn *net.UDPConn, sum []heardFrom) {
	seen := make([]map[uint64]bool, len(sum))
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		from := int(binary.BigEndian.Uint16(buf))
		if n < 64 || from >= len(sum) {
			continue
		}
		if seen[from] == nil {
			seen[from] = map[uint64]bool{}
		}
		if number := binary.BigEndian.Uint64(buf[8:]); seen[from][number] {
			sum[from].Duplicates++
		} else {
			seen[from][number] = true
			sum[from].Received++
		}
	}
}

// crowd is VMs that all send to all others.
type crowd struct {
	w       *world
	vms     []string
	procs   []*lab.Proc
	outputs []*output
}

// crowd starts them; rate says how many packets a second one sends to another.
func (w *world) crowd(vms []string, rate func(from, to int) int) *crowd {
	w.Helper()
	c := &crowd{w: w, vms: vms}
	var addresses []string
	for _, vm := range vms {
		addresses = append(addresses, w.Address(vm).String())
	}
	for i, vm := range vms {
		var rates []string
		for j := range vms {
			rates = append(rates, fmt.Sprint(rate(i, j)))
		}
		out := &output{}
		c.outputs = append(c.outputs, out)
		c.procs = append(c.procs, w.spawn(vm, lab.CmdOptions{Name: "everyone", Stdout: out}, lab.Self,
			"--self", fmt.Sprint(i), "--peers", strings.Join(addresses, ","), "--rates", strings.Join(rates, ",")))
	}
	return c
}

// stop ends it and says how many packets were sent, lost and came twice, all pairs together.
func (c *crowd) stop() (sent, lost, twice int) {
	c.w.Helper()
	for _, p := range c.procs {
		p.Signal(syscall.SIGTERM)
	}
	reports := make([][]heardFrom, len(c.procs))
	for i, p := range c.procs {
		<-p.Done()
		text := c.outputs[i].String()
		if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "listening\n")), &reports[i]); err != nil {
			c.w.Fatalf("%s said %q: %v", c.vms[i], text, err)
		}
	}
	for i := range reports {
		for j := range reports {
			if i == j {
				continue
			}
			sent += reports[i][j].Sent
			if missing := reports[i][j].Sent - reports[j][i].Received; missing != 0 {
				lost += missing
				c.w.Logf("%s to %s: %d of %d are missing", c.vms[i], c.vms[j], missing, reports[i][j].Sent)
			}
			twice += reports[j][i].Duplicates
		}
	}
	return sent, lost, twice
}
