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

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// joinTime bounds the enrolment at one address: two round trips and one signature.
	joinTime = 10 * time.Second
	// maxTokenInput bounds a token read from standard input, in bytes.
	maxTokenInput = 8 << 10
)

// joining is one run of vnet join.
type joining struct {
	name  string
	state string
	force bool
}

func joinCommand(c *cli) *cobra.Command {
	var j joining
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this machine a node of an overlay",
		Long: `Make this machine a node of an overlay, with a token that "vnet token create" printed at the Proxy. A "-" in place
of the token reads it from standard input, so that it does not show in the list of processes.`,
		Example: "  vnet join vnet1.eyJvIjoi… --name host5",
		Args:    cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			token, err := c.readToken(args[0])
			if err != nil {
				return usageError{err}
			}
			if cmd.Flags().Changed("overlay") && c.overlay != token.Overlay {
				return usagef("cannot join overlay %s with this token: it is for %s", c.overlay, token.Overlay)
			}
			return c.join(cmd.Context(), token, j)
		}),
	}
	cmd.Flags().StringVar(&j.name, "name", "", "`name` of the node (default: the host name)")
	cmd.Flags().StringVar(&j.state, "state", "", "state `directory` (default: by overlay)")
	cmd.Flags().BoolVar(&j.force, "force", false, "give up the identity this machine has in the overlay")
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

func (c *cli) join(ctx context.Context, token pki.Token, j joining) (err error) {
	if j.name == "" {
		if j.name, err = hostName(); err != nil {
			return err
		}
	}
	if err := overlay.ValidName(j.name); err != nil {
		return usagef("cannot join: %w; choose one with --name", err)
	}
	if j.state == "" {
		if j.state, err = stateDir(token.Overlay); err != nil {
			return err
		}
	}
	if err := vacantState(j); err != nil {
		return err
	}
	id, home, err := enrol(ctx, token, j.name)
	if err != nil {
		return err
	}
	if err := errors.Join(home.Save(j.state), id.Save(j.state)); err != nil {
		return err
	}
	if c.output == "json" {
		return json.NewEncoder(c.out).Encode(map[string]string{"overlay": id.Overlay, "node": id.Name, "proxy": home.Proxy, "state": j.state})
	}
	_, err = fmt.Fprintf(c.out, "joined overlay %s as %s; its Proxy is %s; start the node with: vnet host --overlay %s\n", id.Overlay, id.Name, home.Proxy, id.Overlay)
	return err
}

// vacantState refuses to overwrite an identity: the Proxy knows the node by it.
func vacantState(j joining) error {
	id, err := pki.LoadIdentity(j.state)
	switch {
	case j.force, errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot join: %s holds an identity that cannot be read (%w); --force replaces it", j.state, err)
	}
	return fmt.Errorf("cannot join: this machine is node %s of overlay %s already (in %s); --force replaces its identity", id.Name, id.Overlay, j.state)
}

// enrol tries the Proxy's addresses in turn until one answers.
func enrol(ctx context.Context, token pki.Token, name string) (*pki.Identity, pki.Home, error) {
	var tried []error
	for i, addr := range token.Addrs {
		id, proxy, err := enrolAt(ctx, token, name, addr)
		if err == nil {
			// The address that answered comes first from now on.
			addrs := append([]string{addr}, token.Addrs[:i]...)
			return id, pki.Home{Proxy: proxy, Addrs: append(addrs, token.Addrs[i+1:]...)}, nil
		}
		if errors.Is(err, pki.ErrRefused) || ctx.Err() != nil {
			return nil, pki.Home{}, err
		}
		tried = append(tried, fmt.Errorf("%s: %w", addr, err))
	}
	return nil, pki.Home{}, fmt.Errorf("cannot join overlay %s: no address of its Proxy let this machine in: %w", token.Overlay, joinLines(tried))
}

func enrolAt(ctx context.Context, token pki.Token, name, addr string) (*pki.Identity, string, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	dialer := &tls.Dialer{Config: pki.JoinClientTLS(token, nil)}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, "", fmt.Errorf("cannot secure the connection: it is a %T", conn)
	}
	proxy, _, err := pki.PeerOf(secure.ConnectionState())
	if err != nil {
		return nil, "", err
	}
	id, err := pki.RequestJoin(conn, token, name)
	return id, proxy, err
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
