// Command mixer sends every kind of frame to another mixer, all kinds at once, and checks every byte of what comes back.
//
// It runs in a VM of the lab, or as the first process of a guest of QEMU, and prints a report when its time is over. A
// kernel that is told that a checksum is good does not look, so each payload, and each raw frame as a whole, carries a hash
// of its own. It does not judge: whoever started it does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Plan is what a mixer is to do.
type Plan struct {
	On       string       // interface
	Own4     netip.Prefix // to be added; the zero value is there already
	Own6     netip.Prefix // to be added; the zero value means no IPv6
	Peer4    netip.Addr   // the other mixer
	Peer6    netip.Addr   //
	PeerMAC  net.HardwareAddr
	MTU      int           // of both
	Duration time.Duration // of sending
	Patience time.Duration // until the other answers
}

// Report is what became of it.
type Report struct {
	Sent     map[string]int      `json:"sent"`
	Received map[string]*Account `json:"received"`
	Wrong    []string            `json:"wrong,omitempty"` // the first few, described
	Trouble  string              `json:"trouble,omitempty"`
}

// Account is what came of one kind.
type Account struct {
	Good  int   `json:"good"`
	Wrong int   `json:"wrong"` // damaged
	Twice int   `json:"twice"`
	Bytes int64 `json:"bytes"`
}

func main() {
	args := os.Args[1:]
	guest := os.Getpid() == 1 && len(args) == 0
	if guest {
		args = wakeUp()
	}
	p, err := parse(args)
	if err == nil {
		err = mix(p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mixer:", err)
	}
	if guest {
		powerOff()
	}
	if err != nil {
		os.Exit(1)
	}
}

func parse(args []string) (Plan, error) {
	var p Plan
	fs := flag.NewFlagSet("mixer", flag.ContinueOnError)
	fs.StringVar(&p.On, "on", "eth0", "interface")
	fs.IntVar(&p.MTU, "mtu", 1500, "of both interfaces, in bytes")
	fs.DurationVar(&p.Duration, "for", 5*time.Second, "how long to send")
	fs.DurationVar(&p.Patience, "patience", 20*time.Second, "how long to wait for the other")
	own4, own6 := fs.String("own4", "", "IPv4 address to add, with its length"), fs.String("own6", "", "IPv6 address to add, with its length")
	peer4, peer6 := fs.String("peer4", "", "the other's IPv4 address"), fs.String("peer6", "", "the other's IPv6 address")
	mac := fs.String("peer-mac", "", "the other's MAC")
	if err := fs.Parse(args); err != nil {
		return p, err
	}
	var errs [5]error
	p.PeerMAC, errs[0] = net.ParseMAC(*mac)
	p.Peer4, errs[1] = netip.ParseAddr(*peer4)
	if *own4 != "" {
		p.Own4, errs[2] = netip.ParsePrefix(*own4)
	}
	if *own6 != "" {
		p.Own6, errs[3] = netip.ParsePrefix(*own6)
		p.Peer6, errs[4] = netip.ParseAddr(*peer6)
	}
	return p, errors.Join(errs[:]...)
}

// mix does all of it and prints the report.
func mix(p Plan) error {
	if err := configure(p); err != nil {
		return err
	}
	book := newBook()
	ctx, cancel := context.WithTimeout(context.Background(), p.Patience+p.Duration+20*time.Second)
	defer cancel()
	ears, err := listen(p, book)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	streams, err := dialAll(ctx, p)
	if err != nil {
		book.trouble(err)
	} else {
		until := time.Now().Add(p.Duration)
		var sending sync.WaitGroup
		for kind, conn := range streams {
			sending.Go(func() { book.trouble(sendStream(conn, kind, until, book)) })
		}
		sending.Go(func() { book.trouble(sendPackets(p, until, book)) })
		sending.Wait()
	}
	ears.finish(ctx)
	return json.NewEncoder(os.Stdout).Encode(book.close())
}
