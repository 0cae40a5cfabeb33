package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/server"
)

func hostCommand(c *cli) *cobra.Command {
	var f daemonFlags
	var proxies []string
	var sealed bool
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Run this machine's node of an overlay it has joined",
		Long: `Run this machine's node. It takes frames from its ports, keeps a link to the Proxy, and opens direct links to other
hosts when the Proxy says so. It needs CAP_NET_ADMIN for --tap and CAP_NET_RAW for --lan, and nothing for --tap-fd and --qemu.`,
		Example: `  vnet host --tap vm1
  vnet host --qemu vm2=stream:/run/vm2.sock
  vnet host --lan eth1 --overlay lab`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error { return c.runHost(cmd.Context(), &f, proxies, sealed) }),
	}
	f.add(cmd)
	cmd.Flags().StringSliceVar(&proxies, "proxy", nil, "where the Proxy is, `HOST:PORT` (default: what the token said)")
	cmd.Flags().BoolVar(&sealed, "sealed", false, "send guests of other hosts nothing but sealed frames, and take nothing else, whatever the Proxy says (see vnet seal)")
	return cmd
}

// runHost runs the node until ctx ends, or it has left the overlay.
func (c *cli) runHost(ctx context.Context, f *daemonFlags, proxies []string, sealed bool) error {
	d, err := f.prepare(c)
	if err != nil {
		return err
	}
	defer d.close()
	cfg, err := d.hostConfig(c.overlay, proxies)
	if err != nil {
		return err
	}
	cfg.Sealed = sealed
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.Left = func() { time.AfterFunc(lastWords, cancel) }
	var n *node.Node
	cfg.Serve = answerer(func() server.Daemon { return node.Service{Node: n} })
	if n, err = node.New(cfg); err != nil {
		return err
	}
	return d.run(ctx, c, node.Service{Node: n}, n.Run, n.Ready())
}

// lastWords is how long a daemon that has left goes on, so that who asked it to gets the answer.
const lastWords = 500 * time.Millisecond

// hostConfig is a node's configuration from what joining left in the state directory.
func (d *daemon) hostConfig(overlay string, proxies []string) (node.Config, error) {
	id, err := pki.LoadIdentity(d.state)
	if errors.Is(err, fs.ErrNotExist) {
		return node.Config{}, fmt.Errorf("cannot start: this machine has not joined overlay %s; make a token at the Proxy with `vnet token create`, then run here: vnet join TOKEN", overlay)
	}
	if err != nil {
		return node.Config{}, err
	}
	home, err := pki.LoadHome(d.state)
	if err != nil {
		return node.Config{}, err
	}
	if len(proxies) > 0 {
		home.Addrs = proxies
	}
	return node.Config{
		Identity: id, Net: link.Kernel{}, Listen: d.listen, Sockets: d.socks, Ports: d.ports, Proxy: home.Addrs, ProxyName: home.Proxy,
		Carrier: d.wish, Store: d.store, Log: d.log, Boot: d.boot, Advertise: d.offer, Off: d.without, ClampMSS: d.clamp, Uncounted: d.uncounted,
		Renewed: func(id *pki.Identity) error { return id.Save(d.state) },
	}, nil
}
