package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// lookTime bounds a look-up of a name and a connection.
	lookTime = 5 * time.Second
	// udpTries is how often a datagram is sent before its size counts as lost: three in a row are lost by chance on one path
	// in a thousand, if it loses a tenth.
	udpTries = 3
	// udpWait is how long each is waited for.
	udpWait = 500 * time.Millisecond
	// udpSmallest is what every path of QUIC takes (RFC 9000 §14), in bytes of UDP payload.
	udpSmallest = 1200
	// largestProbe is what a path of Ethernet takes, in bytes of UDP payload over IPv4.
	largestProbe = 1472
	// clockNote is how far clocks may differ before it is mentioned.
	clockNote = 5 * time.Minute
)

// proxy looks at the way to the Proxy: names, tcp, trust, clock, token, udp, and what sizes it takes.
func (d *doctor) proxy(ctx context.Context) {
	var good []string
	for _, addr := range d.token.Addrs {
		if d.reach(ctx, addr) {
			good = append(good, addr)
		}
	}
	if len(good) == 0 {
		d.fault("proxy", "see whether the Proxy runs (there: vnet status), and whether a firewall lets tcp and udp through; another address is named with: vnet token create --address HOST:PORT",
			"the Proxy cannot be reached at any of %s", strings.Join(d.token.Addrs, ", "))
		return
	}
	d.trust(ctx, good[0])
	d.udp(good[0])
}

// reach connects to one address over tcp.
func (d *doctor) reach(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	host, _, err := net.SplitHostPort(addr)
	if err == nil && net.ParseIP(host) == nil {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			d.fault("dns", "mend /etc/resolv.conf or the name; or have a token with an IP address: vnet token create --address IP:PORT", "the Proxy's name %s is not found: %v", host, err)
			return false
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		d.note("proxy", "", "no tcp to %s: %v", addr, err)
		return false
	}
	conn.Close()
	d.ok("proxy", "%s answers over tcp", addr)
	return true
}

// trust asks who is there, what time it is, and whether the token is good.
func (d *doctor) trust(ctx context.Context, addr string) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conn, err := dialJoin(ctx, pki.ClockTLS(d.token), addr)
	if errors.Is(err, pki.ErrOtherCA) && len(d.token.Secret) == 0 && d.known { // for hours after vnet ca rotate the Proxy shows the older key
		d.ok("trust", "the daemon's link to the Proxy is up; it shows the key of another authority than this node's certificate, as it does for a while after vnet ca rotate")
		return
	}
	if err != nil {
		d.fault("trust", "see whether the token is of this overlay, and its address that of the Proxy; make a new one there: vnet token create", "%v", err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(lookTime))
	asked := d.now()
	there, refused, err := pki.AskTime(conn, d.token, d.name)
	if err != nil {
		d.note("clock", "", "%v", err)
		return
	}
	switch off := asked.Sub(there); {
	case off.Abs() > pki.ClockSkew:
		d.fault("clock", "set the clock of whichever is wrong, and keep it right: timedatectl set-ntp true", "this machine's clock says %s, the Proxy's %s; certificates are refused when clocks differ by more than %v",
			asked.UTC().Format(time.RFC3339), there.UTC().Format(time.RFC3339), pki.ClockSkew)
	case off.Abs() > clockNote:
		d.note("clock", "keep it right: timedatectl set-ntp true", "this machine's clock and the Proxy's differ by %v; up to %v does no harm", off.Abs().Round(time.Second), pki.ClockSkew)
	default:
		d.ok("clock", "it agrees with the Proxy's")
	}
	switch {
	case len(d.token.Secret) == 0:
	case strings.Contains(refused, pki.ErrName.Error()):
		d.fault("name", "choose another: vnet join --name NAME; or put this machine in that one's place, with a token made by: vnet token create --name "+d.name, "%s", refused)
	case refused != "":
		d.fault("token", "make a new one at the Proxy: vnet token create", "%s", refused)
	default:
		d.ok("token", "the Proxy would let this machine in as %s", d.name)
	}
}

// udp asks the Proxy's QUIC for its versions (RFC 8999 §6), in datagrams of growing size that must not be cut on the way.
func (d *doctor) udp(addr string) {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		d.fault("udp", "", "%v", err)
		return
	}
	defer conn.Close()
	udp, ok := conn.(*net.UDPConn)
	if !ok || dontFragment(udp) != nil {
		d.note("udp", "", "cannot look: this kernel takes no datagram that must not be cut")
		return
	}
	if answered(udp, udpSmallest) != nil {
		d.fault("udp", "let udp through to the Proxy's port in both directions; until then links use tcp, which is slower", "%s answers over tcp, not over udp: something on the way drops it", addr)
		return
	}
	largest := largestProbe
	if host, _, _ := net.SplitHostPort(udp.RemoteAddr().String()); strings.Contains(host, ":") {
		largest -= 20 // of the larger header
	}
	err = answered(udp, largest)
	switch {
	case err == nil:
		d.ok("udp", "%s answers over udp, also to datagrams of %d bytes", addr, largest)
	case errors.Is(err, syscall.EMSGSIZE):
		d.note("udp", "", "%s answers over udp; the path takes less than %d bytes, which the kernel knows, and links go by", addr, largest)
	default:
		d.fault("mtu", "let ICMP \"fragmentation needed\" (IPv6: \"packet too big\") through on the way, or give the interface the path's MTU: ip link set dev IFACE mtu N; links use the size that works, other programs stall",
			"datagrams of %d bytes reach the Proxy, those of %d vanish on the way and nobody says so", sizeThatWorks(udp, largest), largest)
	}
}

// sizeThatWorks searches between what works and what does not.
func sizeThatWorks(conn *net.UDPConn, bad int) int {
	good := udpSmallest
	for bad-good > 8 {
		if mid := (good + bad) / 2; answered(conn, mid) == nil {
			good = mid
		} else {
			bad = mid
		}
	}
	return good
}

// errSilent says that no answer came.
var errSilent = errors.New("no answer")

// answered sends datagrams of a version of QUIC that does not exist, of size bytes, until one is answered.
func answered(conn *net.UDPConn, size int) error {
	ask := make([]byte, size)
	ask[0] = 0xc0                                   // long header
	binary.BigEndian.PutUint32(ask[1:], 0x1a2a3a4a) // a version reserved to provoke this (RFC 9000 §15)
	ask[5], ask[14] = 8, 8                          // both connection ids
	_, _ = rand.Read(ask[6:14])                     // never fails
	_, _ = rand.Read(ask[15:23])
	for range udpTries {
		if _, err := conn.Write(ask); err != nil {
			return fmt.Errorf("cannot send %d bytes: %w", size, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(udpWait)); err != nil {
			return err
		}
		answer := make([]byte, 1500)
		for {
			n, err := conn.Read(answer)
			if err != nil {
				break
			}
			if n > 14 && bytes.Equal(answer[1:5], make([]byte, 4)) && bytes.Equal(answer[6:14], ask[15:23]) {
				return nil
			}
		}
	}
	return errSilent
}

// dontFragment has the kernel mark datagrams so that nobody cuts them, and send them whatever it believes of the path.
func dontFragment(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var four, six error
	err = raw.Control(func(fd uintptr) {
		four = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		six = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	})
	if err == nil && four != nil && six != nil {
		err = four
	}
	return err
}
