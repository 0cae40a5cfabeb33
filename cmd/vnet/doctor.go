package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/port"
)

// spareBytes is how much room the state directory must have: the largest state seen, of an overlay of 200 nodes, twice.
const spareBytes = 4 << 20

// finding is what one check of the doctor came to.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, note or fault
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what to do about it
}

// doctor looks for what keeps a machine from being a node.
type doctor struct {
	c     *cli
	now   func() time.Time
	state string
	name  string
	port  uint16
	token pki.Token // of the argument, or made of what joining left: without a secret
	home  bool      // this machine is the Proxy
	known bool      // the daemon that runs here has its link to the Proxy: it believes who is there
	found []finding
}

func doctorCommand(c *cli) *cobra.Command {
	d := &doctor{c: c, now: time.Now}
	var listen daemonFlags
	cmd := &cobra.Command{
		Use:   "doctor [TOKEN]",
		Short: "Find what keeps this machine from being a node, and say what to do about it",
		Long: `Look at this machine, its way to the Proxy and its daemon, and say of everything that is wrong what to do about it. With a
token, also a machine that has not joined yet is looked at; the token is not used up. The exit code is 1 if there is a fault.`,
		Example: "  vnet doctor vnet1.eyJvIjoi…",
		Args:    cobra.MaximumNArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if d.token, _ = c.doctorToken(d, args[0]); d.token.Overlay != "" {
					c.overlay = d.token.Overlay
				}
			}
			at, err := listen.listenAt(c.overlay)
			if err != nil {
				return err
			}
			d.port, d.state = at.Port(), listen.state
			if err := d.examine(cmd.Context()); err != nil {
				return err
			}
			return d.report()
		}),
	}
	cmd.Flags().StringVar(&listen.state, "state", "", "state `directory` (default: by overlay)")
	cmd.Flags().StringVar(&listen.listen, "listen", "", "`IP:PORT` where the daemon is to listen (default: by overlay)")
	cmd.Flags().StringVar(&d.name, "name", "", "`name` the node is to have (default: the host name)")
	return cmd
}

func (d *doctor) ok(check, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, State: "ok", Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) note(check, do, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, State: "note", Text: fmt.Sprintf(format, args...), Do: do})
}

func (d *doctor) fault(check, do, format string, args ...any) {
	d.found = append(d.found, finding{Check: check, State: "fault", Text: fmt.Sprintf(format, args...), Do: do})
}

// doctorToken reads the token; one that cannot be read is a finding.
func (c *cli) doctorToken(d *doctor, arg string) (pki.Token, error) {
	token, err := c.readToken(arg)
	switch {
	case err != nil:
		d.fault("token", "copy it whole, or make a new one at the Proxy: vnet token create", "%v", err)
	case token.Expired(d.now()):
		d.fault("token", "make a new one at the Proxy: vnet token create", "it was good until %s, and this machine's clock says %s", token.Expires.Format(time.RFC3339), d.now().UTC().Format(time.RFC3339))
	}
	return token, err
}

// examine makes all checks, from the machine outwards.
func (d *doctor) examine(ctx context.Context) (err error) {
	if d.state == "" {
		if d.state, err = stateDir(d.c.overlay); err != nil {
			return err
		}
	}
	if d.name == "" {
		if d.name, err = hostName(); err != nil {
			return err
		}
	}
	d.tun()
	d.capabilities()
	d.interfaces(os.DirFS("/sys"))
	d.disk()
	running := d.daemon(ctx)
	if !running {
		d.ports()
	}
	d.membership()
	if !d.home && len(d.token.Addrs) > 0 {
		d.proxy(ctx)
	}
	return nil
}

// report prints what was found; a fault is a failure.
func (d *doctor) report() error {
	faults := 0
	for _, f := range d.found {
		if f.State == "fault" {
			faults++
		}
	}
	if d.c.output == "json" {
		if err := json.NewEncoder(d.c.out).Encode(map[string]any{"findings": d.found}); err != nil {
			return err
		}
	} else {
		t := newTable(d.c)
		for _, f := range d.found {
			t.row(f.State, f.Check, f.Text)
			if f.Do != "" {
				t.row(" ", " ", "→ "+f.Do)
			}
		}
		if err := t.w.Flush(); err != nil {
			return err
		}
	}
	if faults > 0 {
		return codeError(exitFailure)
	}
	return nil
}

// tun looks for the device that makes TAPs.
func (d *doctor) tun() {
	const path = "/dev/net/tun"
	switch err := unix.Access(path, unix.R_OK|unix.W_OK); {
	case err == nil:
		d.ok("tun", "%s is there", path)
	case errors.Is(err, fs.ErrNotExist):
		d.fault("tun", "load the module: modprobe tun; in a container add: --device "+path+"; or use ports that need none: --lan, --qemu", "there is no %s, so no --tap", path)
	default:
		d.fault("tun", "run as root; or use ports that need none: --qemu", "%s cannot be opened: %v", path, err)
	}
}

// interfaces looks for those that will not carry guests' frames.
func (d *doctor) interfaces(sys fs.FS) {
	list, err := fs.ReadDir(sys, "class/net")
	if err != nil {
		return
	}
	for _, one := range list {
		if why, do := port.Reluctance(sys, one.Name()); why != "" {
			d.note("lan", do, "no good --lan: %s", why)
		}
	}
}

func (d *doctor) capabilities() {
	var lacks []string
	for _, one := range []struct {
		number uint
		text   string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN (for --tap)"}, {unix.CAP_NET_RAW, "CAP_NET_RAW (for --lan)"}} {
		if !hasCapability(one.number) {
			lacks = append(lacks, one.text)
		}
	}
	if len(lacks) > 0 {
		d.fault("privileges", "run as root (sudo vnet …), or: setcap cap_net_admin,cap_net_raw+ep "+os.Args[0]+"; guests of QEMU need neither: --qemu", "this process lacks %s", strings.Join(lacks, " and "))
		return
	}
	d.ok("privileges", "it may make TAP devices and open interfaces")
}

// disk looks whether the state directory, or where it is to be made, has room.
func (d *doctor) disk() {
	dir := d.state
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var room unix.Statfs_t
	if err := unix.Statfs(dir, &room); err != nil {
		d.fault("disk", "make the directory, or choose another with --state", "cannot look at %s: %v", dir, err)
		return
	}
	if free := int64(room.Bavail) * room.Bsize; free < spareBytes {
		d.fault("disk", "free some space there, or choose another directory with --state", "%s has %d kB left, %d kB are needed: keys and revocations could not be stored", dir, free>>10, spareBytes>>10)
		return
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		d.fault("disk", "run as root, or choose another directory with --state", "%s cannot be written: %v", dir, err)
		return
	}
	d.ok("disk", "%s has room", dir)
}

// daemon asks the daemon of the overlay, if one runs, what it complains of itself.
func (d *doctor) daemon(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	resp, err := d.c.daemon().GetStatus(ctx, &api.GetStatusRequest{})
	if err != nil {
		d.note("daemon", "start it with: vnet host, or vnet proxy", "none answers for overlay %s", d.c.overlay)
		return false
	}
	d.ok("daemon", "node %s runs", resp.GetStatus().GetNode())
	d.known = resp.GetStatus().GetStar() == api.LinkState_LINK_STATE_UP
	for _, w := range resp.GetStatus().GetWarnings() {
		d.note("daemon", "", "%s", w)
	}
	return true
}

// ports looks whether the daemon could listen.
func (d *doctor) ports() {
	at := fmt.Sprintf(":%d", d.port)
	taken := func(kind string, err error) {
		d.fault("port", fmt.Sprintf("find who has it: ss -lpn 'sport = :%d'; end that, or give the daemon another: --listen 0.0.0.0:PORT", d.port), "%s port %d is taken: %v", kind, d.port, err)
	}
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		taken("tcp", err)
		return
	}
	tcp.Close()
	udp, err := net.ListenPacket("udp", at)
	if err != nil {
		taken("udp", err)
		return
	}
	udp.Close()
	d.ok("port", "tcp and udp port %d are free", d.port)
}

// membership looks at what joining left here.
func (d *doctor) membership() {
	id, err := pki.LoadIdentity(d.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(d.token.Addrs) == 0 {
			d.note("identity", "make a token at the Proxy with: vnet token create; then here: vnet join TOKEN", "this machine is no node of overlay %s", d.c.overlay)
		} else if nameErr := overlay.ValidName(d.name); nameErr != nil {
			d.fault("name", "choose one: vnet join --name NAME", "%v", nameErr)
		}
		return
	case err != nil:
		d.fault("identity", "restore "+d.state+" from a backup, or join again: vnet join TOKEN --force", "%v", err)
		return
	}
	if end := id.Expires(); d.now().After(end) {
		d.note("identity", "start the daemon: it renews its certificate as soon as it reaches the Proxy; after "+pki.LateRenewal.String()+" join again", "the certificate of %s has ended at %s", id.Name, end.UTC().Format(time.RFC3339))
	} else {
		d.ok("identity", "node %s of overlay %s, certificate until %s", id.Name, id.Overlay, end.UTC().Format(time.RFC3339))
	}
	if d.home = id.Role == pki.RoleProxy; d.home || len(d.token.Addrs) > 0 {
		return
	}
	home, err := pki.LoadHome(d.state)
	if err != nil {
		d.fault("identity", "join again: vnet join TOKEN --force", "%v", err)
		return
	}
	d.token = pki.Token{Overlay: id.Overlay, CA: id.CA, Addrs: home.Addrs}
}
