package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/proxy"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
)

func proxyCommand(c *cli) *cobra.Command {
	var f daemonFlags
	var name, mode string
	var adaptation adapt.Config
	var service serviceFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run the Proxy: the centre of an overlay, on the user's own network",
		Long: `Run the Proxy. The first start founds the overlay: it makes the certificate authority that signs every node, in the
state directory, which is therefore worth a backup. As long as no machine has joined, it prints the command for the first
one. Others join with a token of "vnet token create". With --service the Proxy becomes a unit of systemd.`,
		Example: `  vnet proxy --lan eth0
  vnet proxy --overlay lab --listen 0.0.0.0:5000`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			var err error
			if adaptation.Mode, err = adapt.ParseMode(mode); err != nil {
				return usageError{err}
			}
			if err := adaptation.Check(); err != nil {
				return usageError{err}
			}
			if service.wanted {
				if err := f.unfit(); err != nil {
					return err
				}
				return c.installProxy(cmd, service, &f, name, adaptation)
			}
			d, err := f.prepare(c)
			if err != nil {
				return err
			}
			defer d.close()
			cfg, err := d.proxyConfig(c.overlay, name)
			if err != nil {
				return err
			}
			cfg.Adapt = adaptation
			var p *proxy.Proxy
			cfg.Node.Serve = answerer(func() server.Daemon { return p.Service() })
			d.remote = server.NewRemote(func() server.Daemon { return p.Service() }, d.log)
			cfg.Node.Clients = d.remote.Take
			if p, err = proxy.New(cfg); err != nil {
				return err
			}
			d.next = func() (string, error) { return nextCommand(cmd.Context(), p) }
			return d.run(cmd.Context(), c, p.Service(), p.Run, p.Ready())
		}),
	}
	f.add(cmd)
	service.add(cmd)
	cmd.Flags().StringVar(&name, "name", "", "`name` of the node, at the first start (default: the host name)")
	cmd.Flags().StringVar(&mode, "adapt", "auto", "adaptation at the first start: observe, advise or auto")
	cmd.Flags().IntVar(&adaptation.MaxLinks, "max-links", 0, "fast paths at a time, at the first start; 0 is no limit")
	cmd.Flags().StringVar(&adaptation.Policy, "policy", "", "of adaptation, at the first start (default: fastpath)")
	cmd.Flags().StringVar(&adaptation.Told, "told", "", "pairs for policy oracle, at the first start, as vm1=vm2,vm2=vm3")
	cmd.Flags().MarkHidden("policy") // to compare fastpath with what others do: docs/adaptation.md
	cmd.Flags().MarkHidden("told")
	return cmd
}

// proxyConfig loads the overlay's authority and the Proxy's identity, or founds both.
func (d *daemon) proxyConfig(name, nodeName string) (proxy.Config, error) {
	now := time.Now()
	ca, err := pki.LoadCA(d.state)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = pki.NewCA(name, now); err == nil {
			err = ca.Save(d.state)
		}
	}
	if err != nil {
		return proxy.Config{}, err
	}
	if ca.Overlay() != name {
		return proxy.Config{}, fmt.Errorf("cannot start overlay %s: %s holds the authority of overlay %s; give another --state", name, d.state, ca.Overlay())
	}
	old, err := pki.LoadOldCA(d.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return proxy.Config{}, err
	}
	id, err := pki.LoadIdentity(d.state)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (now.After(id.RenewAt()) || id.Early(now)) {
		if id, err = foundIdentity(signer(ca, old), id, nodeName, now); err == nil {
			err = id.Save(d.state)
		}
	}
	if err != nil {
		return proxy.Config{}, err
	}
	return proxy.Config{
		CA: ca, OldCA: old, Vault: vault(d.state), Store: d.store, Log: d.log, Allowed: allowHosts,
		Node: node.Config{
			Identity: id, Net: link.Kernel{}, Listen: d.listen, Sockets: d.socks, Ports: d.ports, Carrier: d.wish,
			Store: d.store, Log: d.log, Boot: d.boot, Advertise: d.offer, Off: d.without, ClampMSS: d.clamp, Uncounted: d.uncounted,
		},
	}, nil
}

// allowHosts says what hosts may ask the Proxy for: what is for the Proxy's own user only (tokens, certificates, who belongs to
// the overlay) no host may do, whoever sits at it.
func allowHosts(method string) error {
	switch {
	case server.Need(method) < pki.RoleAdmin, method == "SetLinkCipher": // both ends have to agree to that
		return nil
	case method == node.MethodSeal: // hosts' own business, which the Proxy only carries
		return nil
	}
	return api.Errorf(connect.CodePermissionDenied, "cannot do this at a host: %s is for the Proxy's own machine", method).WithHint("run the same command there")
}

// foundIdentity signs the Proxy's own certificate. Its name stays what it was: hosts know it by that.
func foundIdentity(ca *pki.CA, old *pki.Identity, name string, now time.Time) (*pki.Identity, error) {
	if old != nil {
		return ca.Reissue(old, now, pki.LeafLife)
	}
	if name == "" {
		var err error
		if name, err = hostName(); err != nil {
			return nil, err
		}
	}
	if err := overlay.ValidName(name); err != nil {
		return nil, usagef("cannot name the Proxy: %w; choose a name with --name", err)
	}
	return ca.Issue(name, pki.RoleProxy, now, pki.LeafLife)
}

// signer is the authority that everybody knows: while one replaces another, the old one.
func signer(ca, old *pki.CA) *pki.CA {
	if old != nil {
		return old
	}
	return ca
}

// vault keeps the Proxy's keys in its state directory.
type vault string

// SaveCA writes the old authority first: a crash leaves one too many, never one too few.
func (v vault) SaveCA(ca, old *pki.CA) error {
	if old == nil {
		if err := ca.Save(string(v)); err != nil {
			return err
		}
		return pki.RemoveOldCA(string(v))
	}
	if err := old.SaveOld(string(v)); err != nil {
		return err
	}
	return ca.Save(string(v))
}

func (v vault) SaveIdentity(id *pki.Identity) error { return id.Save(string(v)) }

// nextCommand is what to type on the first machine that is to join; empty when some have.
func nextCommand(ctx context.Context, p *proxy.Proxy) (string, error) {
	if empty, err := p.Empty(); err != nil || !empty {
		return "", err
	}
	if os.Getenv("JOURNAL_STREAM") != "" || os.Getenv("INVOCATION_ID") != "" { // what is printed would be in a log
		return "let another machine join: vnet token create", nil
	}
	t, err := p.CreateToken(ctx, &api.CreateTokenRequest{})
	if err != nil { // it has no address yet
		return "let another machine join: vnet token create --address HOST:PORT", nil
	}
	return fmt.Sprintf("on the machine that is to join, within an hour: vnet join %s", t.GetToken()), nil
}

// installProxy has systemd run the Proxy, and says what to type next.
func (c *cli) installProxy(cmd *cobra.Command, service serviceFlags, f *daemonFlags, name string, a adapt.Config) error {
	argv := append([]string{"proxy"}, f.args()...)
	if name != "" {
		argv = append(argv, "--name", name)
	}
	argv = append(argv, "--adapt", a.Mode.String())
	if a.MaxLinks != 0 {
		argv = append(argv, "--max-links", fmt.Sprint(a.MaxLinks))
	}
	if a.Policy != "" {
		argv = append(argv, "--policy", a.Policy)
	}
	if a.Told != "" {
		argv = append(argv, "--told", a.Told)
	}
	if err := c.install(cmd.Context(), service, f, argv); err != nil {
		return err
	}
	t, err := ask(cmd, c.daemon().CreateToken, &api.CreateTokenRequest{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "on the machine that is to join, within an hour: vnet join %s\n", t.GetToken())
	return err
}
