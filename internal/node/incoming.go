package node

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	controlv1 "github.com/virtuoso-vnet/virtuoso/api/control/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

func helloIn(m *controlv1.Hello) (any, error) {
	out := control.Hello{Version: printable(m.GetVersion(), maxVersionText), Boot: m.GetBoot(), Generation: m.GetGeneration(), Trust: m.GetTrust()}
	var err error
	if out.Name, err = nameIn(m.GetName()); err != nil {
		return nil, err
	}
	if out.Candidates, err = addrsIn(m.GetCandidates()[:min(len(m.GetCandidates()), maxCandidates)]); err != nil {
		return nil, err
	}
	if out.Rules, err = rulesIn(m.GetRules()); err != nil {
		return nil, err
	}
	ports, err := portsIn(m.GetPorts())
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		out.Ports = append(out.Ports, control.PortInfo{Name: p.GetName(), LAN: p.GetLan(), MTU: int(p.GetMtu())})
	}
	for _, l := range m.GetLinks() {
		peer, err := nameIn(l.GetPeer())
		if err != nil {
			return nil, err
		}
		origin, err := overlay.ParseOrigin(l.GetOrigin())
		if err != nil {
			return nil, err
		}
		out.Links = append(out.Links, control.LinkInfo{
			Peer: peer, Origin: origin, Carrier: l.GetCarrier(), Up: l.GetUp(), RTT: micros(l.GetRttUs()),
		})
	}
	return out, nil
}

func welcomeIn(m *controlv1.Welcome) (any, error) {
	proxy, err := nameIn(m.GetProxy())
	if err != nil {
		return nil, err
	}
	out := control.Welcome{
		Proxy: proxy, Overlay: m.GetOverlay(), Boot: m.GetBoot(), Generation: m.GetGeneration(),
		Bound: micros(m.GetBoundUs()), Flood: m.GetFlood(), ProbeKey: m.GetProbeKey(),
	}
	if m.GetNowUs() != 0 {
		out.Now = time.UnixMicro(m.GetNowUs())
	}
	return out, nil
}

func tuneIn(m *controlv1.Tune) (any, error) {
	out := control.Tune{Report: micros(m.GetReportUs())}
	for _, l := range m.GetPorts() {
		one := overlay.PortLimit{Port: l.GetPort(), Storm: int(l.GetStorm()), DropSpoof: l.GetDropSpoof(), Fixed: l.GetFixed()}
		for _, b := range l.GetMacs() {
			mac, ok := macIn(b)
			if !ok {
				return nil, errMAC
			}
			one.MACs = append(one.MACs, mac)
		}
		if err := one.CheckPort(); err != nil {
			return nil, err
		}
		out.Ports = append(out.Ports, one)
	}
	return out, nil
}

func announceIn(m *controlv1.Announce) (any, error) {
	out := control.Announce{Boot: m.GetBoot(), Seq: m.GetSeq()}
	for _, s := range m.GetSeen() {
		mac, ok := macIn(s.GetMac())
		if !ok {
			return nil, errMAC
		}
		if err := overlay.ValidPort(s.GetPort()); err != nil {
			return nil, err
		}
		out.Seen = append(out.Seen, control.Sighting{
			MAC: mac, Port: s.GetPort(), IPs: ipsIn(s.GetIps()), Gratuitous: s.GetGratuitous(), Gone: s.GetGone(),
		})
	}
	return out, nil
}

func directoryIn(m *controlv1.Directory) (any, error) {
	out := control.Directory{Version: m.GetVersion(), Full: m.GetFull()}
	for _, p := range m.GetPlaces() {
		mac, ok := macIn(p.GetMac())
		if !ok {
			return nil, errMAC
		}
		at, err := nameIn(p.GetNode())
		if err != nil {
			return nil, err
		}
		out.Places = append(out.Places, control.Place{
			MAC: mac, Node: at, Port: p.GetPort(), Mobility: p.GetMobility(), IPs: ipsIn(p.GetIps()), Declared: p.GetDeclared(),
		})
	}
	for _, b := range m.GetGone() {
		mac, ok := macIn(b)
		if !ok {
			return nil, errMAC
		}
		out.Gone = append(out.Gone, mac)
	}
	return out, nil
}

func stageIn(m *controlv1.StageRequest) (any, error) {
	if m.GetStage() > uint32(control.StageAbort) {
		return nil, fmt.Errorf("cannot use stage %d of a change: it is unknown", m.GetStage())
	}
	out := control.StageRequest{
		Change: m.GetChange(), Stage: control.Stage(m.GetStage()), DeleteRules: m.GetDeleteRules(),
		Generation: m.GetGeneration(), Wait: micros(m.GetWaitUs()),
	}
	var err error
	if out.AddRules, err = rulesIn(m.GetAddRules()); err != nil {
		return nil, err
	}
	for _, l := range m.GetOpenLinks() {
		spec := control.LinkSpec{Carrier: l.GetCarrier(), Dial: l.GetDial(), Cipher: l.GetCipher()}
		if _, err := link.ParseCipher(spec.Cipher); err != nil {
			return nil, err
		}
		if spec.ExtraPorts, err = link.ExtraPortCount(l.GetExtraPorts()); err != nil {
			return nil, err
		}
		if spec.Peer, err = nameIn(l.GetPeer()); err != nil {
			return nil, err
		}
		if spec.Origin, err = overlay.ParseOrigin(l.GetOrigin()); err != nil {
			return nil, err
		}
		if spec.PeerAddrs, err = addrsIn(l.GetAddrs()); err != nil {
			return nil, err
		}
		out.OpenLinks = append(out.OpenLinks, spec)
	}
	if out.CloseLinks, err = namesIn(m.GetCloseLinks()); err != nil {
		return nil, err
	}
	return out, nil
}

func replyIn(m *controlv1.StageReply) (any, error) {
	out := control.StageReply{
		Change: m.GetChange(), Stage: control.Stage(min(m.GetStage(), 255)), OK: m.GetOk(), Error: printable(m.GetError(), maxErrorText), Took: micros(m.GetTookUs()),
	}
	for _, peer := range m.GetOpened() {
		name, err := nameIn(peer)
		if err != nil {
			return nil, err
		}
		out.Opened = append(out.Opened, name)
	}
	for _, f := range m.GetFailed() {
		name, err := nameIn(f.GetPeer())
		if err != nil {
			return nil, err
		}
		out.Failed = append(out.Failed, control.LinkFailure{Peer: name, Error: printable(f.GetError(), maxErrorText)})
	}
	return out, nil
}

func callIn(m *controlv1.Call) (any, error) {
	if m.GetNode() != "" {
		if _, err := nameIn(m.GetNode()); err != nil {
			return nil, err
		}
	}
	return control.Call{ID: m.GetId(), Node: overlay.Name(m.GetNode()), Method: m.GetMethod(), Body: m.GetBody()}, nil
}

func trafficIn(m *controlv1.TrafficReport) (any, error) {
	out := vttif.Report{
		Boot: m.GetBoot(), Seq: m.GetSeq(), Other: tallyIn(m.GetOther()),
		BinsFrom: m.GetBinsFrom(), BinsLen: int(min(m.GetBinsLen(), math.MaxInt16)), // a length that makes no sense is ignored there
	}
	for _, b := range m.GetBins() {
		src, ok1 := macIn(b.GetSrc())
		dst, ok2 := macIn(b.GetDst())
		if !ok1 || !ok2 {
			return nil, errMAC
		}
		out.Bins = append(out.Bins, vttif.Bins{Pair: vttif.Pair{Src: src, Dst: dst}, Delivered: b.GetDelivered(), Levels: b.GetLevels()})
	}
	for _, d := range m.GetDeltas() {
		src, ok1 := macIn(d.GetSrc())
		dst, ok2 := macIn(d.GetDst())
		if !ok1 || !ok2 {
			return nil, errMAC
		}
		out.Deltas = append(out.Deltas, vttif.Delta{Pair: vttif.Pair{Src: src, Dst: dst}, Tally: tallyIn(d)})
	}
	return out, nil
}

func tallyIn(d *controlv1.TrafficDelta) vttif.Tally {
	return vttif.Tally{
		OfferedBytes: d.GetOfferedBytes(), OfferedFrames: d.GetOfferedFrames(), OfferedBare: d.GetOfferedBare(),
		DeliveredBytes: d.GetDeliveredBytes(), DeliveredFrames: d.GetDeliveredFrames(),
	}
}

func rulesIn(rules []*controlv1.Rule) ([]overlay.Rule, error) {
	var out []overlay.Rule
	for _, r := range rules {
		rule, err := ruleIn(r)
		if err != nil {
			return nil, err
		}
		out = append(out, rule)
	}
	return out, nil
}

func ruleIn(r *controlv1.Rule) (rule overlay.Rule, err error) {
	rule.ID = r.GetId()
	if rule.Arrival, err = overlay.ParseSide(r.GetArrival()); err != nil {
		return rule, err
	}
	if rule.Src, err = overlay.ParseMatch(r.GetSrc()); err != nil {
		return rule, err
	}
	if rule.Dst, err = overlay.ParseMatch(r.GetDst()); err != nil {
		return rule, err
	}
	if rule.Out, err = overlay.ParseSide(r.GetOut()); err != nil {
		return rule, err
	}
	rule.Origin, err = overlay.ParseOrigin(r.GetOrigin())
	return rule, err
}

var errMAC = fmt.Errorf("cannot use a MAC that is not %d bytes", len(ether.MAC{}))

func nameIn(s string) (overlay.Name, error) { return overlay.Name(s), overlay.ValidName(s) }

func namesIn(list []string) ([]overlay.Name, error) {
	var out []overlay.Name
	for _, s := range list {
		name, err := nameIn(s)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}

func addrsIn(list []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range list {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("cannot use address %q: want ip:port", s)
		}
		out = append(out, a)
	}
	return out, nil
}

func ipsIn(list [][]byte) []netip.Addr {
	var out []netip.Addr
	for _, b := range list[:min(len(list), maxIPs)] {
		if ip, ok := netip.AddrFromSlice(b); ok {
			out = append(out, ip)
		}
	}
	return out
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
