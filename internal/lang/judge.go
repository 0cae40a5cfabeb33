package lang

import (
	"fmt"
	"maps"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// judge looks for what is wrong with a file although every line is right by itself.
func (p *parser) judge() {
	j := &judge{Meaning: p.file.Meaning(), bad: p.bad, nodes: map[overlay.Name]*Node{}, vms: map[string]Pos{}, said: map[string]Pos{}}
	j.proxy, j.named = j.Proxy()
	j.declare()
	j.links()
	j.rules()
	j.will()
	j.ports()
	for _, s := range p.file.Statements() {
		if m, ok := s.(Mode); ok {
			j.once("mode", m.at, "the mode")
		}
	}
}

type judge struct {
	*Meaning
	proxy  overlay.Name
	named  bool // the Proxy is, by a node statement
	bad    *complaints
	nodes  map[overlay.Name]*Node // empty = the file declares none, so any name will do
	vms    map[string]Pos
	joined map[[2]overlay.Name]Pos
	said   map[string]Pos // what may be said once, by what
}

// once complains about what is said a second time.
func (j *judge) once(key string, at Pos, what string) {
	if first, twice := j.said[key]; twice {
		j.bad.add(at, "%s is said on line %d already: say it once", what, first.Line)
		return
	}
	j.said[key] = at
}

func (j *judge) declare() {
	for i := range j.Nodes {
		n := &j.Nodes[i]
		j.once("node "+string(n.Name), n.at, fmt.Sprintf("node %s", n.Name))
		j.nodes[n.Name] = n
		if n.Proxy {
			j.once("proxy", n.at, "the Proxy")
		}
		ports := map[string]bool{}
		for _, f := range slices.Concat(n.TAPs, n.LANs) {
			if ports[f.Port] {
				j.bad.add(n.at, "node %s has two ports %s: give each another name", n.Name, f.Port)
			}
			ports[f.Port] = true
		}
	}
	macs := map[ether.MAC]Pos{}
	for _, v := range j.VMs {
		j.once("vm "+v.Name, v.at, "VM "+v.Name)
		if first, twice := macs[v.MAC]; twice {
			j.bad.add(v.at, "%s is the address of the VM on line %d already: addresses are unique", v.MAC, first.Line)
		}
		macs[v.MAC], j.vms[v.Name] = v.at, v.at
		if v.Node != "" {
			j.node(v.Node, v.at)
			j.port(v.Node, overlay.AtPort(v.Port), v.at)
		}
	}
}

// node complains about a name that no node has.
func (j *judge) node(name overlay.Name, at Pos) bool {
	if j.bad.full() {
		return false
	}
	if len(j.nodes) == 0 || j.nodes[name] != nil {
		return true
	}
	var names []string
	for _, n := range slices.Sorted(maps.Keys(j.nodes)) {
		names = append(names, string(n))
	}
	j.bad.add(at, "there is no node %s%s: declare it with \"node %s host\", or use one of %s", name, suggest(string(name), names), name, few(names))
	return false
}

// few lists some of many names.
func few(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s … (%d in all)", listed(names[:most]), len(names))
	}
	return listed(names)
}

// port complains about a port that a node which lists its ports does not list.
func (j *judge) port(at overlay.Name, side overlay.Side, pos Pos) {
	n := j.nodes[at]
	if n == nil || side.Kind != overlay.PortSide || side.Name == "" || len(n.TAPs)+len(n.LANs) == 0 {
		return
	}
	var names []string
	for _, f := range slices.Concat(n.TAPs, n.LANs) {
		names = append(names, f.Port)
	}
	if !slices.Contains(names, side.Name) {
		j.bad.add(pos, "node %s has no port %s%s: it lists %s; add \"tap %s\" or \"lan %s\" to it", at, side.Name, suggest(side.Name, names), few(names), side.Name, side.Name)
	}
}

// vm complains about a name that no VM has.
func (j *judge) vm(v VMRef) {
	if _, ok := j.vms[v.Name]; ok || v.Name == "" || j.bad.full() {
		return
	}
	names := slices.Sorted(maps.Keys(j.vms))
	j.bad.add(v.at, "there is no VM %s%s: declare it with \"vm %s MAC\", or write its MAC address", v.Name, suggest(v.Name, names), v.Name)
}

func (j *judge) links() {
	j.joined = map[[2]overlay.Name]Pos{}
	for _, l := range j.Links {
		ok := j.node(l.A, l.at)
		ok = j.node(l.B, l.at) && ok
		key := ends(l.A, l.B)
		if first, twice := j.joined[key]; twice {
			j.bad.add(l.at, "the link %s %s is on line %d already: one is enough", l.A, l.B, first.Line)
		}
		j.joined[key] = l.at
		if j.named && ok && (l.A == j.proxy || l.B == j.proxy) {
			j.bad.add(l.at, "a link to the Proxy %s: every host has one by itself, the star; links join two hosts", j.proxy)
		}
	}
}

// side complains about a port or a link that the node of a rule does not have.
func (j *judge) side(u Rule, s overlay.Side) {
	j.port(u.Node, s, u.at)
	peer := s.Peer()
	if peer == "" || !j.node(peer, u.at) {
		return
	}
	_, linked := j.joined[ends(u.Node, peer)]
	switch {
	case peer == u.Node:
		j.bad.add(u.at, "%s names a link of %s to itself: name another node", s, u.Node)
	case !linked && j.named && u.Node != j.proxy && peer != j.proxy:
		j.bad.add(u.at, "%s has no link to %s: add \"link %s %s\"", u.Node, peer, u.Node, peer)
	}
}

func (j *judge) rules() {
	seen := map[string]Pos{}
	for _, u := range j.Rules {
		known := j.node(u.Node, u.at)
		for _, a := range []Address{u.Src, u.Dst} {
			if a.Kind == overlay.Exact || a.Kind == overlay.Not {
				j.vm(a.VM)
			}
		}
		for _, s := range []overlay.Side{u.From, u.To} {
			if known {
				j.side(u, s)
			}
		}
		r := j.RuleOf(u)
		if _, err := overlay.Rank(r.Src, r.Dst); err != nil && known {
			j.rank(u, r, err)
		}
		if u.Dst.Kind == overlay.Exact && r.Dst.MAC.IsGroup() {
			j.bad.add(u.at, "%s is a group address: group frames take only the flood tree, no rule has them", r.Dst.MAC)
		}
		key := fmt.Sprint(u.Node, r)
		if first, twice := seen[key]; twice {
			j.bad.add(u.at, "the rule is on line %d already: one is enough", first.Line)
		}
		seen[key] = u.at
	}
}

// rank passes on what the forwarding table has against a rule, unless it is only that a VM is not known.
func (j *judge) rank(u Rule, r overlay.Rule, err error) {
	for _, a := range []Address{u.Src, u.Dst} {
		if _, ok := j.Resolve(a.VM); a.VM.Name != "" && !ok {
			return
		}
	}
	j.bad.add(u.at, "%s", err)
}

// wants is what is forbidden, made ready for looking up.
type wants struct {
	links   map[[2]overlay.Name]bool
	pairs   map[string]bool
	transit map[overlay.Name]bool
}

func (j *judge) forbidden() wants {
	w := wants{map[[2]overlay.Name]bool{}, map[string]bool{}, map[overlay.Name]bool{}}
	for _, f := range j.Forbids {
		switch f.Kind {
		case overlay.ForbidLink:
			w.links[ends(f.A, f.B)] = true
		case overlay.ForbidPair:
			w.pairs[j.pair(f.X, f.Y)] = true
		case overlay.ForbidTransit:
			w.transit[f.A] = true
		}
	}
	return w
}

func ends(a, b overlay.Name) [2]overlay.Name { return [2]overlay.Name{min(a, b), max(a, b)} }

func (j *judge) will() {
	w := j.forbidden()
	for _, p := range j.Pins {
		j.pin(p, w)
	}
	for _, f := range j.Forbids {
		for _, n := range []overlay.Name{f.A, f.B} {
			if n != "" {
				j.node(n, f.at)
			}
		}
		j.vm(f.X)
		j.vm(f.Y)
		j.once(fmt.Sprint("forbid", f.Kind, min(f.A, f.B), max(f.A, f.B), j.pair(f.X, f.Y)), f.at, "this prohibition")
	}
	for _, l := range j.Limits {
		if l.Node != "" {
			j.node(l.Node, l.at)
		}
		j.once("max-links "+string(l.Node), l.at, "this limit")
	}
	for _, c := range j.Costs {
		j.node(c.A, c.at)
		j.node(c.B, c.at)
		j.once(fmt.Sprint("cost", min(c.A, c.B), " ", max(c.A, c.B)), c.at, "the cost of this link")
	}
	proxy, _ := j.Proxy()
	for _, s := range j.Seals {
		for _, n := range []overlay.Name{s.A, s.B} {
			if n == proxy && n != "" {
				j.bad.add(s.at, "%s is the Proxy: frames are sealed between hosts", n)
			} else if n != "" {
				j.node(n, s.at)
			}
		}
		j.once(fmt.Sprint("seal", min(s.A, s.B), " ", max(s.A, s.B)), s.at, "this seal")
	}
}

// pair is a key for two VMs in any order.
func (j *judge) pair(x, y VMRef) string {
	a, _ := j.Resolve(x)
	b, _ := j.Resolve(y)
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return a.String() + b.String()
}

func (j *judge) pin(p Pin, w wants) {
	if !p.Path {
		j.node(p.A, p.at)
		j.node(p.B, p.at)
		j.once(fmt.Sprint("pin", min(p.A, p.B), " ", max(p.A, p.B)), p.at, "this pin")
		if w.links[ends(p.A, p.B)] {
			j.bad.add(p.at, "the link %s %s is pinned and forbidden: strike one of the two out", p.A, p.B)
		}
		return
	}
	j.vm(p.X)
	j.vm(p.Y)
	j.once("path"+j.pair(p.X, p.Y), p.at, "the path of this pair")
	for i, n := range p.Via {
		j.node(n, p.vias[i])
		if w.transit[n] {
			j.bad.add(p.vias[i], "the path crosses %s, which is forbidden as transit: strike one of the two out", n)
		}
		if i > 0 && w.links[ends(p.Via[i-1], n)] {
			j.bad.add(p.vias[i], "the path takes the link %s %s, which is forbidden: strike one of the two out", p.Via[i-1], n)
		}
	}
	if !p.Star && w.pairs[j.pair(p.X, p.Y)] {
		j.bad.add(p.at, "the pair has a path of its own and is forbidden to have one: strike one of the two out")
	}
}
