package port

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// QEMUConfig says where a guest of QEMU and we meet. The counterpart of "stream" is
// `-netdev stream,id=n0,server=off,addr.type=unix,addr.path=LOCAL`, that of "dgram" is
// `-netdev dgram,id=n0,local.type=unix,local.path=REMOTE,remote.type=unix,remote.path=LOCAL` (QEMU 7.2 or later; `inet` with
// `host` and `port` in place of `unix` and `path` for an address).
type QEMUConfig struct {
	Name   string
	Stream bool   // one connection, QEMU's; else datagrams
	Local  string // where we are: the path of a unix socket, or IP:PORT on the loopback
	Remote string // where QEMU is, for datagrams; "" with a path = where the last came from
}

// ParseQEMU reads "stream:LOCAL", "dgram:LOCAL" or "dgram:LOCAL,REMOTE".
func ParseQEMU(name, text string) (QEMUConfig, error) {
	c := QEMUConfig{Name: name}
	kind, where, _ := strings.Cut(text, ":")
	c.Local, c.Remote, _ = strings.Cut(where, ",")
	c.Stream = kind == "stream"
	if !c.Stream && kind != "dgram" {
		return c, fmt.Errorf("cannot use %q: want stream:ADDRESS or dgram:ADDRESS[,ADDRESS]", text)
	}
	return c, c.validate()
}

func (c QEMUConfig) validate() error {
	if c.Name == "" {
		return errors.New("cannot make a port for QEMU: give it a name")
	}
	if err := checkMeeting(c.Local); err != nil {
		return err
	}
	switch path := isPath(c.Local); {
	case c.Stream && c.Remote != "":
		return errors.New("cannot use two addresses for a stream: QEMU connects to the one we listen at")
	case !c.Stream && c.Remote == "" && !path:
		return errors.New("cannot use datagrams on the loopback with one address: any user of this machine could send from elsewhere; give QEMU's too")
	case c.Remote == "":
		return nil
	case isPath(c.Remote) != path:
		return errors.New("cannot use a path and an IP address together")
	}
	return checkMeeting(c.Remote)
}

// maxSocketPath is how many bytes fit a unix address, with the zero behind them.
const maxSocketPath = 107

// checkMeeting refuses an address that is neither a path nor on the loopback: frames go in clear, from whoever sends.
func checkMeeting(address string) error {
	if isPath(address) {
		if len(address) > maxSocketPath {
			return fmt.Errorf("cannot use %q as a socket: the kernel takes at most %d bytes", address, maxSocketPath)
		}
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("cannot use %q: want the path of a socket (with a slash) or IP:PORT", address)
	}
	if !at.Addr().IsLoopback() {
		return fmt.Errorf("cannot use %s: QEMU's sockets are neither encrypted nor authenticated; give an address of the loopback, such as 127.0.0.1", address)
	}
	return nil
}

func isPath(address string) bool { return strings.ContainsRune(address, '/') }
