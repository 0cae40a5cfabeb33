package node

import (
	"net/netip"

	controlv1 "github.com/virtuoso-vnet/virtuoso/api/control/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

func helloOut(m control.Hello) *controlv1.Hello {
	out := &controlv1.Hello{
		Name: string(m.Name), Version: m.Version, Boot: m.Boot, Generation: m.Generation, Trust: m.Trust,
		Candidates: addrsOut(m.Candidates), Rules: rulesOut(m.Rules),
	}
	for _, p := range m.Ports {
		out.Ports = append(out.Ports, &controlv1.Port{Name: p.Name, Lan: p.LAN, Mtu: uint32(p.MTU)})
	}
	for _, l := range m.Links {
		out.Links = append(out.Links, &controlv1.Link{
			Peer: string(l.Peer), Origin: l.Origin.String(), Carrier: l.Carrier, Up: l.Up, RttUs: l.RTT.Microseconds(),
		})
	}
	return out
}

func welcomeOut(m control.Welcome) *controlv1.Welcome {
	out := &controlv1.Welcome{
		Proxy: string(m.Proxy), Overlay: m.Overlay, Boot: m.Boot, Generation: m.Generation,
		BoundUs: m.Bound.Microseconds(), Flood: m.Flood, ProbeKey: m.ProbeKey,
	}
	if !m.Now.IsZero() {
		out.NowUs = m.Now.UnixMicro()
	}
	return out
}

func tuneOut(m control.Tune) *controlv1.Tune {
	out := &controlv1.Tune{ReportUs: m.Report.Microseconds()}
	for _, l := range m.Ports {
		one := &controlv1.PortLimit{Port: l.Port, Storm: int32(l.Storm), DropSpoof: l.DropSpoof, Fixed: l.Fixed}
		for _, mac := range l.MACs {
			one.Macs = append(one.Macs, mac[:])
		}
		out.Ports = append(out.Ports, one)
	}
	return out
}

func announceOut(m control.Announce) *controlv1.Announce {
	out := &controlv1.Announce{Boot: m.Boot, Seq: m.Seq}
	for _, s := range m.Seen {
		out.Seen = append(out.Seen, &controlv1.Sighting{
			Mac: s.MAC[:], Port: s.Port, Ips: ipsOut(s.IPs), Gratuitous: s.Gratuitous, Gone: s.Gone,
		})
	}
	return out
}

func directoryOut(m control.Directory) *controlv1.Directory {
	out := &controlv1.Directory{Version: m.Version, Full: m.Full}
	for _, p := range m.Places {
		out.Places = append(out.Places, &controlv1.Place{
			Mac: p.MAC[:], Node: string(p.Node), Port: p.Port, Mobility: p.Mobility, Ips: ipsOut(p.IPs), Declared: p.Declared,
		})
	}
	for _, mac := range m.Gone {
		out.Gone = append(out.Gone, mac[:])
	}
	return out
}

func stageOut(m control.StageRequest) *controlv1.StageRequest {
	out := &controlv1.StageRequest{
		Change: m.Change, Stage: uint32(m.Stage), AddRules: rulesOut(m.AddRules), DeleteRules: m.DeleteRules,
		Generation: m.Generation, WaitUs: m.Wait.Microseconds(),
	}
	for _, l := range m.OpenLinks {
		out.OpenLinks = append(out.OpenLinks, &controlv1.LinkSpec{
			Peer: string(l.Peer), Addrs: addrsOut(l.PeerAddrs), Carrier: l.Carrier, Origin: l.Origin.String(), Dial: l.Dial,
			Cipher: l.Cipher, ExtraPorts: uint32(l.ExtraPorts),
		})
	}
	for _, peer := range m.CloseLinks {
		out.CloseLinks = append(out.CloseLinks, string(peer))
	}
	return out
}

func replyOut(m control.StageReply) *controlv1.StageReply {
	out := &controlv1.StageReply{Change: m.Change, Stage: uint32(m.Stage), Ok: m.OK, Error: m.Error, TookUs: m.Took.Microseconds()}
	for _, peer := range m.Opened {
		out.Opened = append(out.Opened, string(peer))
	}
	for _, f := range m.Failed {
		out.Failed = append(out.Failed, &controlv1.LinkFailure{Peer: string(f.Peer), Error: f.Error})
	}
	return out
}

func trafficOut(m vttif.Report) *controlv1.TrafficReport {
	out := &controlv1.TrafficReport{Boot: m.Boot, Seq: m.Seq, Other: deltaOut(vttif.Delta{Tally: m.Other})}
	for _, d := range m.Deltas {
		out.Deltas = append(out.Deltas, deltaOut(d))
	}
	out.BinsFrom, out.BinsLen = m.BinsFrom, uint32(m.BinsLen)
	for _, b := range m.Bins {
		out.Bins = append(out.Bins, &controlv1.TrafficBins{Src: b.Src[:], Dst: b.Dst[:], Delivered: b.Delivered, Levels: b.Levels})
	}
	return out
}

func deltaOut(d vttif.Delta) *controlv1.TrafficDelta {
	return &controlv1.TrafficDelta{
		Src: d.Src[:], Dst: d.Dst[:],
		OfferedBytes: d.OfferedBytes, OfferedFrames: d.OfferedFrames, OfferedBare: d.OfferedBare,
		DeliveredBytes: d.DeliveredBytes, DeliveredFrames: d.DeliveredFrames,
	}
}

func rulesOut(rules []overlay.Rule) []*controlv1.Rule {
	var out []*controlv1.Rule
	for _, r := range rules {
		out = append(out, &controlv1.Rule{
			Id: r.ID, Arrival: r.Arrival.String(), Src: r.Src.String(), Dst: r.Dst.String(),
			Out: r.Out.String(), Origin: r.Origin.String(),
		})
	}
	return out
}

func addrsOut(addrs []netip.AddrPort) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func ipsOut(ips []netip.Addr) [][]byte {
	var out [][]byte
	for _, ip := range ips {
		out = append(out, ip.AsSlice())
	}
	return out
}

func macIn(b []byte) (ether.MAC, bool) {
	if len(b) != len(ether.MAC{}) {
		return ether.MAC{}, false
	}
	return ether.MAC(b), true
}
