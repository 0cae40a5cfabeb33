package overlay

import "fmt"

// Validate are all things wrong with the overlay by itself: what names something that is not there, and what has no meaning. It
// does not look for cycles.
func (o *Overlay) Validate() []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Nodes[o.Proxy] == nil {
		fail("cannot do without a Proxy: %q is not among the nodes", o.Proxy)
	}
	for _, name := range o.Names() {
		if err := ValidName(string(name)); err != nil {
			errs = append(errs, err)
		}
		errs = append(errs, o.validateNode(o.Nodes[name])...)
	}
	for i, l := range o.Links {
		switch {
		case l.A >= l.B:
			fail("cannot use link %s %s: its ends are two nodes, in order of their names", l.A, l.B)
		case o.Nodes[l.A] == nil || o.Nodes[l.B] == nil:
			fail("cannot use link %s %s: both ends must be nodes of the overlay", l.A, l.B)
		}
		for _, m := range o.Links[:i] {
			if m.SameEnds(l) {
				fail("cannot have two links between %s and %s: one is enough", l.A, l.B)
			}
		}
	}
	for _, mac := range sorted(o.VMs) {
		vm := o.VMs[mac]
		switch {
		case mac != vm.MAC || mac.IsGroup() || mac.IsZero():
			fail("cannot use VM %q at %s: a VM has one unicast address", vm.Name, mac)
		case o.Nodes[vm.Node] == nil:
			fail("cannot use VM %q at %s: there is no node %q", vm.Name, mac, vm.Node)
		}
	}
	return errs
}

func (o *Overlay) validateNode(n *Node) []error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	ports, ids := map[string]bool{}, map[uint64]bool{}
	for _, p := range n.Ports {
		if err := ValidPort(p.Name); err != nil {
			errs = append(errs, err)
		}
		if ports[p.Name] {
			fail("cannot have two ports %q at %s", p.Name, n.Name)
		}
		ports[p.Name] = true
	}
	for _, r := range n.Rules {
		if ids[r.ID] {
			fail("cannot have two rules %d at %s: give one another number", r.ID, n.Name)
		}
		ids[r.ID] = true
		if err := o.CheckRule(n.Name, r); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// CheckRule says whether the node at could hold r: the rule has a meaning and names what is there.
func (o *Overlay) CheckRule(at Name, r Rule) error {
	if err := r.Check(); err != nil {
		return err
	}
	if o.Nodes[at] == nil {
		return fmt.Errorf("cannot add rule %q: there is no node %q", r, at)
	}
	if o.Flood && r.Dst.Kind == Exact && r.Dst.MAC.IsGroup() {
		return fmt.Errorf("cannot add rule %q: group frames take only the flood tree; \"flood off\" lets rules have them", r)
	}
	for _, s := range []Side{r.Arrival, r.Out} {
		if s.Kind != AnySide && !o.HasSide(at, s) {
			return fmt.Errorf("cannot add rule %q: %s has no %s; it has %s", r, at, s, o.sidesText(at))
		}
	}
	return nil
}

// sidesText lists what a rule at the node may name.
func (o *Overlay) sidesText(at Name) string {
	text := ""
	for _, p := range o.Nodes[at].Ports {
		text += " " + AtPort(p.Name).String()
	}
	for _, p := range o.Peers(at) {
		text += " " + AtLink(p).String()
	}
	if text == "" {
		return "neither ports nor links"
	}
	return text[1:]
}
