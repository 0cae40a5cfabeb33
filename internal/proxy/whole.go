package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// GetOverlay tells the record, and on request where nodes differ from it.
func (p *Proxy) GetOverlay(ctx context.Context, req *vnetv1.GetOverlayRequest) (*vnetv1.GetOverlayResponse, error) {
	out := &vnetv1.GetOverlayResponse{}
	var hosts []overlay.Name
	err := p.ask(ctx, func(h *hub) {
		out.Overlay = h.describeOverlay()
		for _, name := range h.record.Names() {
			switch {
			case name == h.record.Proxy:
			case h.present(name):
				hosts = append(hosts, name)
			default:
				out.Overlay.Silent = append(out.Overlay.Silent, string(name))
			}
		}
	})
	if err != nil || !req.GetCompare() {
		return out, err
	}
	held := p.holdings(ctx, hosts)
	err = p.ask(ctx, func(h *hub) {
		out.Overlay = h.describeOverlay()
		for _, s := range overlay.Diff(holding(h.record, held), h.record) {
			out.Overlay.Differences = append(out.Overlay.Differences, difference(s))
		}
		for _, name := range h.record.Names() {
			if _, heard := held[name]; !heard {
				out.Overlay.Silent = append(out.Overlay.Silent, string(name))
			}
		}
	})
	return out, err
}

// difference is what a node lacks or has too much, said of the node.
func difference(s overlay.Step) string {
	switch s.Kind {
	case overlay.OpenLink:
		return fmt.Sprintf("%s and %s lack the link between them", s.Link.A, s.Link.B)
	case overlay.CloseLink:
		return fmt.Sprintf("%s and %s have a link that the record does not have", s.Link.A, s.Link.B)
	case overlay.AddRule:
		return fmt.Sprintf("%s lacks rule %d: %s", s.Node, s.Rule.ID, s.Rule)
	}
	return fmt.Sprintf("%s has rule %d, which the record does not have: %s", s.Node, s.Rule.ID, s.Rule)
}

func (h *hub) describeOverlay() *vnetv1.Overlay {
	live := h.live()
	out := &vnetv1.Overlay{Generation: h.record.Generation, Revision: live.Revision(), Proxy: string(h.record.Proxy)}
	for _, name := range h.record.Names() {
		n := h.record.Nodes[name]
		one := &vnetv1.OverlayNode{Name: string(name), Role: vnetv1.Role_ROLE_HOST, State: vnetv1.NodeState_NODE_STATE_DOWN}
		if name == h.record.Proxy {
			one.Role = vnetv1.Role_ROLE_PROXY
		}
		if h.present(name) {
			one.State = vnetv1.NodeState_NODE_STATE_UP
		}
		for _, p := range n.Ports {
			one.Ports = append(one.Ports, &vnetv1.OverlayPort{Name: p.Name, Lan: p.LAN})
		}
		for _, r := range n.Rules {
			one.Rules = append(one.Rules, ruleOut(r))
		}
		out.Nodes = append(out.Nodes, one)
	}
	for _, v := range h.named {
		one := &vnetv1.VM{Mac: v.MAC.String(), Name: v.Name, Node: string(v.Node), Port: v.Port, Named: true, Declared: v.Node != ""}
		if place, ok := h.places.Place(v.MAC); ok && v.Node == "" {
			one.Node, one.Port = string(place.Node), place.Port
		}
		out.Vms = append(out.Vms, one)
	}
	for _, place := range h.places.Snapshot() {
		if h.userName(place.MAC) == "" {
			out.Vms = append(out.Vms, &vnetv1.VM{Mac: place.MAC.String(), Name: h.vmName(place), Node: string(place.Node), Port: place.Port})
		}
	}
	for _, l := range h.record.Links {
		out.Links = append(out.Links, &vnetv1.OverlayLink{A: string(l.A), B: string(l.B), Carrier: cmpOr(l.Carrier, "auto"), Cipher: l.Cipher, ExtraPorts: uint32(l.ExtraPorts), Origin: l.Origin.String()})
	}
	wishes := &lang.Meaning{}
	wishes.PutWill(live.Will, lang.Names{})
	out.Will = statements(wishes)
	return out
}

// statements are the lines of a meaning, without the version line.
func statements(m *lang.Meaning) (lines []string) {
	for _, s := range lang.Describe(m).Statements()[1:] {
		lines = append(lines, lang.Step{What: s}.Statement())
	}
	return lines
}

// ApplyOverlay makes the user's part of the overlay what a file says.
func (p *Proxy) ApplyOverlay(ctx context.Context, req *vnetv1.ApplyOverlayRequest) (*vnetv1.ApplyOverlayResponse, error) {
	file, err := lang.Check(cmpOr(req.GetName(), "overlay"), []byte(req.GetText()))
	if err != nil {
		return nil, invalid("cannot use this file:\n%w", err)
	}
	a := &application{p: p, want: file.Meaning(), revision: req.GetRevision(), out: &vnetv1.ApplyOverlayResponse{}}
	var from, to *overlay.Overlay
	var refused error
	if err := p.ask(ctx, func(h *hub) { from, to, refused = a.look(h) }); err != nil {
		return nil, err
	}
	detour := false
	if refused == nil && to != nil {
		detour, refused = rehearse(from, to)
	}
	if refused != nil || req.GetDryRun() || len(a.out.Steps) == 0 {
		return a.out, refused
	}
	if detour {
		if err := a.run(ctx, "clearing the way for "+a.what(), cleared); err != nil {
			return nil, err
		}
	}
	if err := a.run(ctx, a.what(), whole); err != nil {
		return nil, err
	}
	a.carriers(ctx)
	return a.out, nil
}

// application is one ApplyOverlay under way.
type application struct {
	p        *Proxy
	want     *lang.Meaning
	revision string // of the user's part that it starts from; empty = any
	out      *vnetv1.ApplyOverlayResponse
	moved    []moved // links that change carrier, cipher or extra ports
}

// moved is a link that stays, and what of it changes: carrier and cipher are a handshake each.
type moved struct {
	lang.Link
	carrier, cipher, ports bool
}

func (a *application) what() string {
	return fmt.Sprintf("applying a file (%s)", counted(len(a.out.Steps), "step"))
}

// look works out the steps, and copies of the overlay before and after them; these are nil when a node is missing.
func (a *application) look(h *hub) (from, to *overlay.Overlay, err error) {
	live := h.live()
	a.out.Revision, a.out.Generation = live.Revision(), h.record.Generation
	if err := a.current(live); err != nil {
		return nil, nil, err
	}
	c := live.To(a.want)
	for _, s := range c.Steps {
		a.out.Steps = append(a.out.Steps, &vnetv1.OverlayStep{Kind: s.Kind.String(), Statement: s.Statement(), Text: s.String()})
		if l, ok := s.What.(lang.Link); ok && s.Kind == lang.Modify {
			was, _ := h.record.LinkBetween(l.A, l.B)
			a.moved = append(a.moved, moved{l, l.LinkOf().Carrier != was.Carrier, l.Cipher != was.Cipher, l.ExtraPorts != was.ExtraPorts})
		}
	}
	if proxy, named := a.want.Proxy(); named && proxy != h.record.Proxy {
		return nil, nil, precondition("cannot apply: the file says that the Proxy is %s, and it is %s", proxy, h.record.Proxy)
	}
	for _, l := range a.want.Links {
		if l.A == h.record.Proxy || l.B == h.record.Proxy {
			return nil, nil, precondition("cannot apply: a link to the Proxy %s: every host has one by itself, the star; links join two hosts", h.record.Proxy)
		}
	}
	if missing := c.Missing(); len(missing) > 0 {
		for _, name := range missing {
			a.out.Notes = append(a.out.Notes, fmt.Sprintf("%s is not in the overlay yet: `vnet launch` starts it", name))
		}
		return nil, nil, nil
	}
	return h.record.Clone(), numbered(h.record, c.Target), nil
}

// rehearse says whether a change can be made; detour says that going there in one change could lose frames or send them in a
// circle while some nodes are ahead, so that the star must carry them meanwhile. It looks at copies, away from the hub,
// because of thousands of rules it takes a while.
func rehearse(from, to *overlay.Overlay) (detour bool, err error) {
	if errs := newErrors(from, to); len(errs) > 0 {
		return false, precondition("cannot apply: %w", errors.Join(errs...))
	}
	stages, err := overlay.Plan(from, to)
	var circle *overlay.CycleError
	switch {
	case errors.As(err, &circle) && circle.When != endState:
		return true, nil
	case err != nil:
		return false, precondition("%w", err)
	}
	return len(stages.Lossy) > 0, nil
}

// endState is how overlay.Plan calls what the change leads to.
const endState = "in the end"

// numbered is a copy with numbers for the rules that have none, for looking ahead only.
func numbered(from, to *overlay.Overlay) *overlay.Overlay {
	c := to.Clone()
	next := max(from.NextID(), to.NextID())
	for _, name := range c.Names() {
		for i := range c.Nodes[name].Rules {
			if r := &c.Nodes[name].Rules[i]; r.ID == 0 {
				r.ID = next
				next++
			}
		}
	}
	return c
}

// current refuses when the user's part is no longer what the client saw.
func (a *application) current(live lang.Live) error {
	if now := live.Revision(); a.revision != "" && a.revision != now {
		return coded(connect.CodeAborted, "cannot apply: somebody else has changed the overlay meanwhile (revision %s, you saw %s); see `vnet diff`, then apply again",
			[]any{now, a.revision})
	}
	return nil
}

// whole is all of a change.
func whole(_ *overlay.Overlay, c lang.Change) lang.Change { return c }

// cleared is a change that only takes away what has to go, and no link: the star has the frames then.
func cleared(from *overlay.Overlay, c lang.Change) lang.Change {
	to := from.Clone()
	for name, n := range to.Nodes {
		stays := map[overlay.Rule]bool{}
		for _, r := range c.Target.Nodes[name].Rules {
			stays[unnumbered(r)] = true
		}
		n.Rules = slices.DeleteFunc(n.Rules, func(r overlay.Rule) bool { return r.Origin == overlay.OriginUser && !stays[unnumbered(r)] })
	}
	return lang.Change{Target: to}
}

// run carries out the part of the change that the choice leaves, and waits until the sources have flipped.
func (a *application) run(ctx context.Context, what string, choose func(*overlay.Overlay, lang.Change) lang.Change) error {
	outcome := make(chan error, 1)
	var change lang.Change
	a.p.mail.leave(func(h *hub) {
		done := func(result control.Result, err error) {
			if err == nil && change.VMs != nil {
				err = h.setWill(time.Now(), change.Will, change.VMs)
			}
			if err == nil {
				took := a.out.Took.AsDuration() + result.Commit
				a.out.Took, a.out.Generation = durationpb.New(took), h.record.Generation
				a.out.Revision = h.live().Revision()
				a.revision = a.out.Revision
			}
			outcome <- err
		}
		h.changes.submit(time.Now(), &request{what: what, done: done, edit: func(o *overlay.Overlay) error {
			live := h.liveOf(o)
			if err := a.current(live); err != nil {
				return err
			}
			full := live.To(a.want)
			if missing := full.Missing(); len(missing) > 0 {
				return precondition("cannot apply: the overlay has no node %s; `vnet launch` starts nodes", commas(missing))
			}
			if full.VMs == nil {
				full.VMs = []lang.VM{}
			}
			change = choose(o, full)
			*o = *change.Target.Clone()
			return nil
		}})
	})
	return a.p.await(ctx, outcome, what, "`vnet diff`")
}

func commas(names []overlay.Name) string {
	var text []string
	for _, n := range names {
		text = append(text, string(n))
	}
	return strings.Join(text, ", ")
}

// carriers moves links that stay but change carrier, cipher or extra ports; what cannot be moved is noted.
func (a *application) carriers(ctx context.Context) {
	for _, l := range a.moved {
		if l.carrier {
			req := &vnetv1.SetLinkCarrierRequest{Node: string(l.A), Peer: string(l.B), Carrier: carrierOf(l.Carrier)}
			if err := a.p.fetch(ctx, l.A, "SetLinkCarrier", req, &vnetv1.SetLinkCarrierResponse{}); err != nil {
				a.out.Notes = append(a.out.Notes, fmt.Sprintf("the link %s %s keeps its carrier for now: %v", l.A, l.B, err))
			}
		}
		if l.cipher {
			req := &vnetv1.SetLinkCipherRequest{Node: string(l.A), Peer: string(l.B), Cipher: cmpOr(l.Cipher, "auto")}
			if _, err := a.p.SetLinkCipher(ctx, req); err != nil {
				a.out.Notes = append(a.out.Notes, fmt.Sprintf("the link %s %s keeps its cipher for now: %v", l.A, l.B, err))
			}
		}
		if l.ports {
			req := &vnetv1.SetLinkPortsRequest{Node: string(l.A), Peer: string(l.B), ExtraPorts: uint32(l.ExtraPorts)}
			if _, err := a.p.SetLinkPorts(ctx, req); err != nil {
				a.out.Notes = append(a.out.Notes, fmt.Sprintf("the link %s %s keeps its ports for now: %v", l.A, l.B, err))
			}
		}
	}
}

func carrierOf(word string) vnetv1.Carrier {
	switch word {
	case "udp":
		return vnetv1.Carrier_CARRIER_UDP
	case "tcp":
		return vnetv1.Carrier_CARRIER_TCP
	}
	return vnetv1.Carrier_CARRIER_AUTO
}
