package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/proxy"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
)

// proxyTTL is how long the Proxy's own certificate lives; a restart makes a new one when less than half is left.
const proxyTTL = 365 * 24 * time.Hour

func proxyCommand(c *cli) *cobra.Command {
	var f daemonFlags
	var name, mode string
	var adaptation adapt.Config
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run the Proxy: the centre of an overlay, on the user's own network",
		Long: `Run the Proxy. The first start founds the overlay: it makes the certificate authority that signs every node, in the
state directory, which is therefore worth a backup. Other machines join with a token of "vnet token create".`,
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
			if p, err = proxy.New(cfg); err != nil {
				return err
			}
			return d.run(cmd.Context(), c, p.Service(), p.Run, p.Ready())
		}),
	}
	f.add(cmd)
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
	id, err := pki.LoadIdentity(d.state)
	if err != nil || id.Expires().Sub(now) < proxyTTL/2 {
		if id, err = foundIdentity(ca, id, nodeName, now); err == nil {
			err = id.Save(d.state)
		}
	}
	if err != nil {
		return proxy.Config{}, err
	}
	return proxy.Config{
		CA: ca, Store: d.store, Log: d.log,
		Node: node.Config{
			Identity: id, Net: link.Kernel{}, Listen: d.listen, Ports: d.ports, Carrier: d.wish,
			Store: d.store, Log: d.log, Boot: d.boot, Advertise: d.offer, Uncounted: d.uncounted,
		},
	}, nil
}

// foundIdentity signs the Proxy's own certificate. Its name stays what it was: hosts know it by that.
func foundIdentity(ca *pki.CA, old *pki.Identity, name string, now time.Time) (*pki.Identity, error) {
	if old != nil {
		name = old.Name
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
	return ca.Issue(name, pki.RoleProxy, now, proxyTTL)
}
