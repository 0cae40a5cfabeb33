package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// joinTime bounds the enrolment at one address: two round trips and one signature.
	joinTime = 10 * time.Second
	// approvalEvery is how often a machine that waits to be approved asks again.
	approvalEvery = 2 * time.Second
	// maxTokenInput bounds a token read from standard input, in bytes.
	maxTokenInput = 8 << 10
	// ownTAP is the port that a machine gets which joins and names none: by it the machine itself is on the LAN.
	ownTAP = "vnet0"
)

// joining is one run of vnet join.
type joining struct {
	name    string
	force   bool
	noStart bool
	service serviceFlags
	daemon  daemonFlags
}

func joinCommand(c *cli) *cobra.Command {
	var j joining
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this machine a node of an overlay, and run it",
		Long: `Make this machine a node of an overlay, with a token that "vnet proxy" or "vnet token create" printed at the Proxy, and
run the node until it is interrupted. A "-" in place of the token reads it from standard input, so that it does not show in
the list of processes.

The key of the node is made here and never leaves the machine. Running the same command again is harmless: a machine that is
a node already only starts. Without --tap, --tap-fd and --lan, and with the right to make one, the node gets a TAP device
called vnet0, by which this machine itself is on the LAN. With --service the node becomes a unit of systemd, so that it is
there after a reboot; "vnet leave" undoes everything.`,
		Example: `  vnet join vnet1.eyJvIjoi…
  vnet join vnet1.eyJvIjoi… --name host5 --tap vm1 --service`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			if j.service.wanted {
				if err := j.daemon.unfit(); err != nil {
					return err
				}
			}
			token, err := c.readToken(args[0])
			if err != nil {
				return usageError{err}
			}
			if cmd.Flags().Changed("overlay") && c.overlay != token.Overlay {
				return usagef("cannot join overlay %s with this token: it is for %s", c.overlay, token.Overlay)
			}
			c.overlay = token.Overlay
			if err := c.join(cmd.Context(), token, &j); err != nil || j.noStart {
				return err
			}
			return c.startJoined(cmd, &j)
		}),
	}
	j.daemon.add(cmd)
	j.service.add(cmd)
	cmd.Flags().StringVar(&j.name, "name", "", "`name` of the node (default: the host name)")
	cmd.Flags().BoolVar(&j.force, "force", false, "give up the identity this machine has in the overlay")
	cmd.Flags().BoolVar(&j.noStart, "no-start", false, "only join; start the node later with: vnet host")
	return cmd
}

func (c *cli) readToken(arg string) (pki.Token, error) {
	if arg == "-" {
		text, err := io.ReadAll(io.LimitReader(c.in, maxTokenInput))
		if err != nil {
			return pki.Token{}, fmt.Errorf("cannot read the token: %w", err)
		}
		arg = string(text)
	}
	return pki.ParseToken(arg)
}

// join makes the machine a node, unless it is one already.
func (c *cli) join(ctx context.Context, token pki.Token, j *joining) (err error) {
	if j.daemon.state == "" {
		if j.daemon.state, err = stateDir(token.Overlay); err != nil {
			return err
		}
	}
	if id, err := joinedAlready(token, j); err != nil {
		return err
	} else if id != nil {
		_, err = fmt.Fprintf(c.out, "this machine is node %s of overlay %s already\n", id.Name, id.Overlay)
		return err
	}
	if j.name == "" {
		if j.name, err = hostName(); err != nil {
			return err
		}
	}
	if err := overlay.ValidName(j.name); err != nil {
		return usagef("cannot join: %w; choose one with --name", err)
	}
	if token.Expired(time.Now()) {
		return fmt.Errorf("cannot join: the token was good until %s, and this machine's clock says %s; make a new one at the Proxy with: vnet token create",
			token.Expires.Format(time.RFC3339), time.Now().UTC().Format(time.RFC3339))
	}
	id, home, err := c.enrol(ctx, token, j)
	if err != nil {
		return err
	}
	if err := errors.Join(home.Save(j.daemon.state), id.Save(j.daemon.state), pki.ForgetApplicant(j.daemon.state)); err != nil {
		return err
	}
	if c.output == "json" {
		return json.NewEncoder(c.out).Encode(map[string]string{"overlay": id.Overlay, "node": id.Name, "proxy": home.Proxy, "state": j.daemon.state})
	}
	next := ""
	if j.noStart {
		next = "; start the node with: vnet host --overlay " + id.Overlay
	}
	_, err = fmt.Fprintf(c.out, "joined overlay %s as %s; its Proxy is %s%s\n", id.Overlay, id.Name, home.Proxy, next)
	return err
}

// joinedAlready is the identity that this machine has in the overlay of the token. One that is not of it, or of another
// name than asked for, is not overwritten unasked: the Proxy knows the node by it.
func joinedAlready(token pki.Token, j *joining) (*pki.Identity, error) {
	id, err := pki.LoadIdentity(j.daemon.state)
	switch {
	case errors.Is(err, fs.ErrNotExist), j.force:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot join: %s holds an identity that cannot be read (%w); --force replaces it", j.daemon.state, err)
	case id.Role == pki.RoleProxy:
		return nil, fmt.Errorf("cannot join: this machine is the Proxy of overlay %s (in %s); run the command on the machine that is to join", id.Overlay, j.daemon.state)
	case id.Overlay == token.Overlay && id.CA == token.CA && (j.name == "" || j.name == id.Name):
		return id, nil
	}
	return nil, fmt.Errorf("cannot join: this machine is node %s of overlay %s already (in %s); --force replaces its identity", id.Name, id.Overlay, j.daemon.state)
}

// enrol tries the Proxy's addresses in turn until one answers, and if somebody has to approve the machine waits for that.
func (c *cli) enrol(ctx context.Context, token pki.Token, j *joining) (*pki.Identity, pki.Home, error) {
	a, err := pki.LoadApplicant(j.daemon.state, j.name)
	if err != nil {
		return nil, pki.Home{}, err
	}
	if err := a.Save(j.daemon.state); err != nil { // so that the machine can ask again if the answer gets lost
		return nil, pki.Home{}, err
	}
	id, home, err := enrolAnywhere(ctx, token, a)
	if errors.Is(err, pki.ErrWaiting) {
		key, keyErr := a.Key()
		if keyErr != nil {
			return nil, home, keyErr
		}
		fmt.Fprintf(c.err, "waiting until somebody approves this machine; at the Proxy: vnet nodes approve %s --key %v\n", a.Name, key)
	}
	for errors.Is(err, pki.ErrWaiting) {
		select {
		case <-time.After(approvalEvery):
		case <-ctx.Done():
			return nil, home, errors.New("cannot go on waiting: interrupted; the same command waits on")
		}
		id, home, err = enrolAnywhere(ctx, token, a)
	}
	if errors.Is(err, pki.ErrRefused) {
		_ = pki.ForgetApplicant(j.daemon.state) // what cannot be removed is used again, which does no harm
		_ = os.Remove(j.daemon.state)           // only if nothing else is in it
	}
	return id, home, err
}

func enrolAnywhere(ctx context.Context, token pki.Token, a *pki.Applicant) (*pki.Identity, pki.Home, error) {
	var tried []error
	for i, addr := range token.Addrs {
		id, proxy, err := enrolAt(ctx, token, a, addr)
		if err == nil {
			// The address that answered comes first from now on.
			addrs := append([]string{addr}, token.Addrs[:i]...)
			return id, pki.Home{Proxy: proxy, Addrs: append(addrs, token.Addrs[i+1:]...)}, nil
		}
		if errors.Is(err, pki.ErrRefused) || errors.Is(err, pki.ErrWaiting) || ctx.Err() != nil {
			return nil, pki.Home{}, err
		}
		tried = append(tried, fmt.Errorf("%s: %w", addr, err))
	}
	return nil, pki.Home{}, api.Errorf(0, "cannot join overlay %s: no address of its Proxy let this machine in: %v", token.Overlay, joinLines(tried)).
		WithHint("what is wrong: vnet doctor TOKEN")
}

func enrolAt(ctx context.Context, token pki.Token, a *pki.Applicant, addr string) (*pki.Identity, string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	conn, err := dialJoin(ctx, pki.JoinClientTLS(token, nil), addr)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	proxy, _, err := pki.PeerOf(conn.ConnectionState())
	if err != nil {
		return nil, "", err
	}
	id, err := a.Request(conn, token)
	return id, proxy, err
}

// dialJoin is a connection to a Proxy that is known by a token only.
func dialJoin(ctx context.Context, cfg *tls.Config, addr string) (*tls.Conn, error) {
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	secure, ok := conn.(*tls.Conn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("cannot secure the connection: it is a %T", conn)
	}
	return secure, nil
}

// joinLines puts several errors on one line.
func joinLines(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	text := make([]string, len(errs))
	for i, err := range errs {
		text[i] = err.Error()
	}
	return errors.New(strings.Join(text, "; "))
}

// hostName is the first label of the machine's name.
func hostName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cannot name the node: %w; choose a name with --name", err)
	}
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	return label, nil
}

// startJoined runs the node that the machine has become, or sees to it that systemd does.
func (c *cli) startJoined(cmd *cobra.Command, j *joining) error {
	if c.answers(cmd.Context()) {
		_, err := fmt.Fprintf(c.out, "its daemon is running; ask it with: vnet status --overlay %s\n", c.overlay)
		return err
	}
	f := &j.daemon
	if len(f.taps)+len(f.tapFDs)+len(f.qemus)+len(f.lans) == 0 && mayMakeTAP() {
		f.taps = []string{ownTAP}
	}
	if j.service.wanted {
		return c.install(cmd.Context(), j.service, f, append([]string{"host"}, f.args()...))
	}
	return c.runHost(cmd.Context(), f, nil, false)
}

// answers says whether a daemon serves on the socket.
func (c *cli) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	_, err := c.daemon().GetStatus(ctx, &api.GetStatusRequest{})
	return err == nil
}
