package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

func launchCommand(c *cli) *cobra.Command {
	l := &launch{cli: c}
	var stop bool
	cmd := &cobra.Command{
		Use:   "launch FILE",
		Short: "Start the daemons of a description on their machines, and establish its topology",
		Long: `Start the daemons that a description names on the machines it names (docs/language.md, "node"), let them join, and make the
overlay what the description says. The machines are reached with your own ssh and its configuration. The program is copied
where it is missing or older; a machine of another architecture gets --binary ARCH=FILE. Where you are not root, "sudo -n" is
used; without it a node can have no ports, which is enough for a Proxy. With systemd a node becomes the unit vnet-OVERLAY.service, without it a plain process.

A machine that fails does not stop the others; the exit code is then 1. Another run starts only what is missing.`,
		Example: `  vnet launch home.vnet
  vnet launch home.vnet --stop`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			f, err := c.described(args[0])
			if err != nil {
				return wrongFile(err)
			}
			if err := l.read(f); err != nil {
				return err
			}
			if stop {
				l.stopAll(cmd.Context())
			} else {
				l.startAll(cmd.Context())
			}
			return l.report()
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&stop, "stop", false, "stop the daemons instead")
	flags.StringVar(&l.ssh, "ssh", "ssh", "the ssh `command`, with options")
	flags.StringVar(&l.dir, "remote-dir", "", "`directory` for the program on the machines (default /usr/local/lib/vnet for root and with sudo, else .vnet in the home)")
	flags.StringSliceVar(&l.binaries, "binary", nil, "the program for another architecture, `ARCH=FILE`, such as arm64=vnet-arm64; may be repeated")
	flags.BoolVar(&l.plain, "no-systemd", false, "start plain processes also where there is systemd")
	return cmd
}

// launch is one run of vnet launch.
type launch struct {
	*cli
	ssh      string
	dir      string
	binaries []string // ARCH=FILE
	plain    bool

	file  *lang.File
	proxy *machine
	hosts []*machine

	mu sync.Mutex // one line of progress at a time
}

// machine is one node on its machine; one goroutine at a time works on it.
type machine struct {
	l    *launch
	node lang.Node

	sessions chan struct{} // one for each command that runs there

	found facts
	did   []string // what was done, for the report
	err   error
}

// read sorts the nodes of a description.
func (l *launch) read(f *lang.File) error {
	l.file = f
	for _, n := range f.Meaning().Nodes {
		m := &machine{l: l, node: n, sessions: make(chan struct{}, sessionsAtOnce)}
		switch {
		case n.Proxy:
			l.proxy = m
			if n.Machine == "" {
				return usagef("cannot launch: say on which machine the Proxy %s is: node %s proxy AT MACHINE", n.Name, n.Name)
			}
		case n.Machine != "":
			l.hosts = append(l.hosts, m)
		}
	}
	if l.proxy == nil {
		return usagef("cannot launch: the description names no Proxy; add \"node NAME proxy AT MACHINE\"")
	}
	for _, b := range l.binaries {
		if arch, file, ok := strings.Cut(b, "="); !ok || arch == "" || file == "" {
			return usagef("cannot use --binary %q: want ARCH=FILE, such as arm64=vnet-arm64", b)
		}
	}
	return nil
}

// say reports progress.
func (m *machine) say(format string, args ...any) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	fmt.Fprintf(m.l.err, "%s: %s\n", m.node.Name, fmt.Sprintf(format, args...))
}

// done notes and reports something that was done.
func (m *machine) done(what string) {
	m.did = append(m.did, what)
	m.say("%s", what)
}

func (m *machine) fail(err error) {
	if m.err = err; err != nil {
		m.say("%v", err)
	}
}

// each works on several machines at once.
func each(list []*machine, work func(*machine) error) {
	var all sync.WaitGroup
	for _, m := range list {
		if m.err == nil {
			all.Go(func() { m.fail(work(m)) })
		}
	}
	all.Wait()
}

// startAll brings up what is missing: all machines are looked at at once, the Proxy starts first, then every host.
func (l *launch) startAll(ctx context.Context) {
	everyone := append([]*machine{l.proxy}, l.hosts...)
	each(everyone, func(m *machine) error { return m.look(ctx) })
	each(everyone, func(m *machine) error { return m.provide(ctx) })
	if l.proxy.err == nil {
		l.proxy.fail(l.proxy.startProxy(ctx))
	}
	if l.proxy.err != nil {
		for _, m := range l.hosts {
			if m.err == nil {
				m.fail(fmt.Errorf("cannot start: the Proxy does not run"))
			}
		}
		return
	}
	each(l.hosts, func(m *machine) error { return m.startHost(ctx) })
	l.proxy.fail(l.establish(ctx))
}

// stopAll ends hosts first, so that none is left looking for its Proxy.
func (l *launch) stopAll(ctx context.Context) {
	each(append([]*machine{l.proxy}, l.hosts...), func(m *machine) error { return m.look(ctx) })
	each(l.hosts, func(m *machine) error { return m.stop(ctx) })
	each([]*machine{l.proxy}, func(m *machine) error { return m.stop(ctx) })
}

// establish applies the description, without what names a node that could not be started.
func (l *launch) establish(ctx context.Context) error {
	m := l.file.Meaning()
	var lost []overlay.Name
	for _, h := range l.hosts {
		if h.err != nil {
			lost = append(lost, h.node.Name)
		}
	}
	for _, n := range m.Nodes {
		if n.Machine == "" && !n.Proxy {
			lost = append(lost, n.Name) // started by somebody else, perhaps; apply asks for it by name
		}
	}
	out, err := l.proxy.run(ctx, []byte(lang.Format(lang.Describe(m.Without(lost)))), l.proxy.vnet("apply", "-"))
	if err != nil {
		return fmt.Errorf("cannot establish the topology: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	l.proxy.say("%s", lines[len(lines)-1])
	if len(lost) > 0 {
		l.proxy.say("left out what names %v; run again when they are there", lost)
	}
	return nil
}

// report says how it ended.
func (l *launch) report() error {
	type line struct {
		Node    string   `json:"node"`
		Machine string   `json:"machine"`
		OK      bool     `json:"ok"`
		Did     []string `json:"did"`
		Error   string   `json:"error,omitempty"`
	}
	var lines []line
	failed := 0
	for _, m := range append([]*machine{l.proxy}, l.hosts...) {
		one := line{Node: string(m.node.Name), Machine: m.node.Machine, OK: m.err == nil, Did: slices.Concat([]string{}, m.did)}
		if m.err != nil {
			one.Error = m.err.Error()
			failed++
		}
		lines = append(lines, one)
	}
	if l.output == "json" {
		if err := json.NewEncoder(l.out).Encode(map[string]any{"machines": lines}); err != nil {
			return err
		}
	} else {
		t := newTable(l.cli)
		t.row("NODE", "MACHINE", "STATE", "DONE")
		for _, one := range lines {
			state := "ok"
			if !one.OK {
				state = one.Error
			}
			t.row(one.Node, one.Machine, state, list(one.Did))
		}
		t.w.Flush()
	}
	if failed > 0 {
		return codeError(exitFailure)
	}
	return nil
}
