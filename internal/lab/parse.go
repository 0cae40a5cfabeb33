package lab

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/virtuoso-vnet/virtuoso/internal/wan"
)

// Parse reads a lab file; name is what errors call it. Every error says `name:line:column`, and all that are
// found are returned together. The result has its defaults and is valid.
func Parse(data []byte, name string) (*Spec, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, syntaxError(name, err)
	}
	p := &parser{file: name, at: map[string]*yaml.Node{}}
	s := &Spec{}
	if len(doc.Content) == 0 {
		return nil, fmt.Errorf("%s:1:1: the file is empty: a lab has at least sites and hosts", name)
	}
	p.spec(doc.Content[0], s)
	if len(p.errs) == 0 {
		s.Complete()
		for _, f := range s.faults() {
			p.fail(p.where(f, doc.Content[0]), "%s", f.what)
		}
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func syntaxError(name string, err error) error {
	var one *yaml.LoadError
	if errors.As(err, &one) {
		return fmt.Errorf("%s:%d:%d: %s", name, one.Mark.Line, max(one.Mark.Column, 1), one.Message)
	}
	return fmt.Errorf("%s:1:1: %w", name, err)
}

// parser collects errors while it walks the nodes; it lives for one Parse.
type parser struct {
	file string
	at   map[string]*yaml.Node // where each named thing was declared
	errs []error
}

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d:%d: %s", p.file, n.Line, n.Column, fmt.Sprintf(format, args...)))
}

// where finds the node a fault is about; the whole document when it is about nothing named.
func (p *parser) where(f fault, root *yaml.Node) *yaml.Node {
	if n := p.at[f.where]; n != nil {
		return n
	}
	return root
}

// field reads the value of one key.
type field struct {
	key  string
	read func(*yaml.Node)
}

// mapping reads a mapping that has only the given keys; an unknown or repeated one is an error that lists what is allowed.
func (p *parser) mapping(n *yaml.Node, fields ...field) {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		p.fail(n, "want `key: value` lines here (%s)", keys(fields))
		return
	}
	seen := map[string]bool{}
next:
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			p.fail(key, "%q is given twice", key.Value)
			continue
		}
		seen[key.Value] = true
		for _, f := range fields {
			if f.key == key.Value {
				f.read(resolve(n.Content[i+1]))
				continue next
			}
		}
		p.fail(key, "unknown key %q: allowed here are %s", key.Value, keys(fields))
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func keys(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return strings.Join(names, ", ")
}

// list calls read for every element.
func (p *parser) list(read func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode {
			p.fail(n, "want a list here")
			return
		}
		for _, e := range n.Content {
			read(resolve(e))
		}
	}
}

func (p *parser) spec(n *yaml.Node, s *Spec) {
	p.mapping(n,
		field{"name", p.text(&s.Name)},
		field{"sites", p.list(func(n *yaml.Node) { s.Sites = append(s.Sites, p.site(n)) })},
		field{"hosts", p.list(func(n *yaml.Node) { s.Hosts = append(s.Hosts, p.host(n)) })},
		field{"vms", p.list(func(n *yaml.Node) { s.VMs = append(s.VMs, p.vm(n)) })},
		field{"paths", p.list(func(n *yaml.Node) { s.Paths = append(s.Paths, p.wan(n)) })},
		field{"applications", p.list(func(n *yaml.Node) { s.Apps = append(s.Apps, p.app(n)) })},
		field{"overlay", func(n *yaml.Node) { p.overlay(n, &s.Overlay) }},
	)
}

func (p *parser) site(n *yaml.Node) (s Site) {
	p.mapping(n,
		field{"name", p.text(&s.Name)},
		field{"subnet", p.prefix(&s.Subnet)})
	p.at[s.Name] = n
	return s
}

func (p *parser) host(n *yaml.Node) (h Host) {
	var rate int64
	p.mapping(n,
		field{"name", p.text(&h.Name)},
		field{"site", p.text(&h.Site)},
		field{"address", p.address(&h.Address)},
		field{"mac", p.mac(&h.MAC)},
		field{"rate", p.rate(&rate)},
		field{"up", p.rate(&h.Up)},
		field{"down", p.rate(&h.Down)},
		field{"queue", p.duration(&h.Queue)},
		field{"lan", p.text(&h.LAN)},
		field{"lan-address", p.address(&h.LANAddr)},
		field{"bridge", p.text(&h.Bridge)},
		field{"mtu", p.number(&h.MTU)})
	if h.Up == 0 {
		h.Up = rate
	}
	if h.Down == 0 {
		h.Down = rate
	}
	p.at[h.Name] = n
	return h
}

func (p *parser) vm(n *yaml.Node) (vm VM) {
	p.mapping(n,
		field{"name", p.text(&vm.Name)},
		field{"host", p.text(&vm.Host)},
		field{"address", p.address(&vm.Address)},
		field{"mac", p.mac(&vm.MAC)},
		field{"mtu", p.number(&vm.MTU)},
		field{"queues", p.number(&vm.Queues)})
	p.at[vm.Name] = n
	return vm
}

func (p *parser) wan(n *yaml.Node) (w WAN) {
	var ends []string
	var back *yaml.Node
	fields := append([]field{
		{"between", p.list(func(n *yaml.Node) { ends = append(ends, n.Value) })},
		{"back", func(n *yaml.Node) { back = n }},
	}, p.path(&w.There)...)
	p.mapping(n, fields...)
	w.Back = w.There
	if back != nil {
		w.Back = wan.Path{}
		p.mapping(back, p.path(&w.Back)...)
	}
	if len(ends) != 2 {
		p.fail(n, "a path needs `between: [site, site]`")
		return w
	}
	w.A, w.B = ends[0], ends[1]
	p.at[pathName(w.A, w.B)] = n
	return w
}

func (p *parser) path(w *wan.Path) []field {
	return []field{
		{"delay", p.duration(&w.Delay)},
		{"jitter", p.duration(&w.Jitter)},
		{"loss", p.share(&w.Loss)},
		{"rate", p.rate(&w.Rate)},
		{"queue", p.duration(&w.Queue)},
		{"mtu", p.number(&w.MTU)},
		{"reorder", p.truth(&w.Reorder)},
	}
}

func (p *parser) app(n *yaml.Node) (a App) {
	p.mapping(n,
		field{"in", p.text(&a.In)},
		field{"run", p.list(func(n *yaml.Node) { a.Run = append(a.Run, n.Value) })})
	p.at["application in "+a.In] = n
	return a
}

func (p *parser) overlay(n *yaml.Node, o *Overlay) {
	p.mapping(n,
		field{"name", p.text(&o.Name)},
		field{"proxy", p.text(&o.Proxy)},
		field{"hosts", p.list(func(n *yaml.Node) { o.Hosts = append(o.Hosts, n.Value) })})
	p.at["overlay"] = n
}

func pathName(a, b string) string { return "path " + a + " - " + b }
