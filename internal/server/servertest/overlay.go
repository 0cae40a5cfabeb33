package servertest

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/lang"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// whole is the overlay at the start: a link and two rules of the user's, a link of adaptation's.
func whole() lang.Live {
	o := overlay.New("proxy")
	mac := func(i int) ether.MAC { return ether.MAC{2, 0, 0, 0, 0, byte(i)} }
	for i, name := range []overlay.Name{"host1", "host2", "host3", "host4"} {
		port := "vm" + string(name[4:])
		o.Nodes[name] = &overlay.Node{Name: name, Ports: []overlay.Port{{Name: port}}}
		o.VMs[mac(i+1)] = overlay.VM{MAC: mac(i + 1), Name: port, Node: name, Port: port}
	}
	o.AddLink(overlay.MakeLink("host1", "host2", overlay.OriginUser))
	o.AddLink(overlay.MakeLink("host1", "host3", overlay.OriginAdapted))
	add := func(at overlay.Name, text string, origin overlay.Origin) {
		r, err := overlay.ParseRule(text)
		if err != nil {
			panic("servertest: " + err.Error())
		}
		r.Origin = origin
		o.AddRule(at, r)
	}
	add("host1", "from port:vm1 src 02:00:00:00:00:01 dst 02:00:00:00:00:02 to link:host2", overlay.OriginUser)
	add("host2", "from link:host1 src 02:00:00:00:00:01 dst 02:00:00:00:00:02 to port:vm2", overlay.OriginUser)
	add("host1", "from port:vm1 src 02:00:00:00:00:01 dst 02:00:00:00:00:03 to link:host3", overlay.OriginAdapted)
	add("host3", "from link:host1 src 02:00:00:00:00:01 dst 02:00:00:00:00:03 to port:vm3", overlay.OriginAdapted)
	o.Generation = 7
	none := 0
	return lang.Live{Overlay: o, Will: overlay.Will{Mode: "auto", MaxLinks: &none}, VMs: []lang.VM{{Name: "vm1", MAC: mac(1)}}}
}

// GetOverlay gives what ApplyOverlay left.
func (d *Daemon) GetOverlay(_ context.Context, req *api.GetOverlayRequest) (*api.GetOverlayResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.live.Overlay
	out := &api.Overlay{Generation: o.Generation, Revision: d.live.Revision(), Proxy: string(o.Proxy)}
	for _, name := range o.Names() {
		n := &api.OverlayNode{Name: string(name), Role: api.Role_ROLE_HOST, State: api.NodeState_NODE_STATE_UP}
		if name == o.Proxy {
			n.Role = api.Role_ROLE_PROXY
		}
		for _, p := range o.Nodes[name].Ports {
			n.Ports = append(n.Ports, &api.OverlayPort{Name: p.Name, Lan: p.LAN})
		}
		for _, r := range o.Nodes[name].Rules {
			n.Rules = append(n.Rules, &api.Rule{
				Id: r.ID, Arrival: r.Arrival.String(), Src: r.Src.String(), Dst: r.Dst.String(), Out: r.Out.String(), Origin: r.Origin.String(), Rank: int32(r.Rank()), Active: true,
			})
		}
		out.Nodes = append(out.Nodes, n)
	}
	for _, v := range d.live.VMs {
		one := &api.VM{Mac: v.MAC.String(), Name: v.Name, Node: string(v.Node), Port: v.Port, Named: true, Declared: v.Node != ""}
		if seen, ok := o.VMs[v.MAC]; ok && v.Node == "" {
			one.Node, one.Port = string(seen.Node), seen.Port
		}
		out.Vms = append(out.Vms, one)
	}
	for i := range 4 {
		v := o.VMs[ether.MAC{2, 0, 0, 0, 0, byte(i + 1)}]
		if !slices.ContainsFunc(d.live.VMs, func(u lang.VM) bool { return u.MAC == v.MAC }) {
			out.Vms = append(out.Vms, &api.VM{Mac: v.MAC.String(), Name: v.Name, Node: string(v.Node), Port: v.Port})
		}
	}
	for _, l := range o.Links {
		out.Links = append(out.Links, &api.OverlayLink{A: string(l.A), B: string(l.B), Carrier: "auto", Origin: l.Origin.String()})
	}
	wishes := &lang.Meaning{}
	wishes.PutWill(d.live.Will, lang.Names{})
	for _, s := range lang.Describe(wishes).Statements()[1:] {
		out.Will = append(out.Will, lang.Step{What: s}.Statement())
	}
	if req.GetCompare() {
		out.Differences = []string{"host4 has rule 9, which the record does not have: from any src any dst 02:00:00:00:00:09 to port:vm4"}
	}
	return &api.GetOverlayResponse{Overlay: out}, nil
}

// ApplyOverlay does as a Proxy does, at once.
func (d *Daemon) ApplyOverlay(_ context.Context, req *api.ApplyOverlayRequest) (*api.ApplyOverlayResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := lang.Check(req.GetName(), []byte(req.GetText()))
	if err != nil {
		return nil, api.Errorf(connect.CodeInvalidArgument, "cannot use this file:\n%v", err)
	}
	if r := req.GetRevision(); r != "" && r != d.live.Revision() {
		return nil, api.Errorf(connect.CodeAborted, "cannot apply: somebody else has changed the overlay meanwhile")
	}
	c := d.live.To(f.Meaning())
	out := &api.ApplyOverlayResponse{Revision: d.live.Revision(), Generation: d.live.Overlay.Generation}
	for _, s := range c.Steps {
		out.Steps = append(out.Steps, &api.OverlayStep{Kind: s.Kind.String(), Statement: s.Statement(), Text: s.String()})
	}
	for _, name := range c.Missing() {
		out.Notes = append(out.Notes, string(name)+" is not in the overlay yet: `vnet launch` starts it")
	}
	switch {
	case req.GetDryRun() || len(c.Steps) == 0:
		return out, nil
	case len(c.Missing()) > 0:
		return nil, api.Errorf(connect.CodeFailedPrecondition, "cannot apply: the overlay has no node %v; `vnet launch` starts nodes", c.Missing())
	}
	d.live = lang.Live{Overlay: c.Target, Will: c.Will, VMs: c.VMs}
	d.live.Overlay.Generation++
	out.Revision, out.Generation, out.Took = d.live.Revision(), d.live.Overlay.Generation, durationpb.New(21*time.Millisecond)
	return out, nil
}

// Trace tells of the one way from vm1 to vm2, and that nobody knows others.
func (d *Daemon) Trace(_ context.Context, req *api.TraceRequest) (*api.TraceResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	src, err := d.live.MACOf(req.GetSrc())
	if err != nil {
		return nil, api.Errorf(connect.CodeNotFound, "%v", err)
	}
	dst, err := d.live.MACOf(req.GetDst())
	if err != nil {
		return nil, api.Errorf(connect.CodeNotFound, "%v", err)
	}
	from := d.live.Overlay.VMs[src]
	path := d.live.Overlay.Trace(from.Node, overlay.AtPort(from.Port), src, dst)
	out := &api.TraceResponse{SrcMac: src.String(), DstMac: dst.String(), End: path.End.String(), Text: path.End.String()}
	for _, h := range path.Hops {
		one := &api.TraceHop{Node: string(h.Node), Arrival: h.Arrival.String(), Reason: h.Reason.String()}
		if h.Out.Kind != overlay.AnySide {
			one.Out = []string{h.Out.String()}
		}
		if h.Out.Kind == overlay.LinkSide {
			one.Carrier = "udp"
		}
		if h.Rule.ID != 0 {
			one.Rule, one.RuleId, one.Rank, one.Origin = h.Rule.String(), h.Rule.ID, int32(h.Rank), h.Rule.Origin.String()
		}
		out.Hops = append(out.Hops, one)
	}
	return out, nil
}
