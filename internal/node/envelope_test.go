package node

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// draw makes parts of messages. Lists are nil when they are empty, as they are after the wire.
type draw struct{ *rapid.T }

func (d draw) name() overlay.Name {
	return overlay.Name(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,20}`).Draw(d.T, "name"))
}
func (d draw) text() string   { return rapid.String().Draw(d.T, "text") }
func (d draw) said() string   { return rapid.StringMatching(`[ -~äß\n]{0,40}`).Draw(d.T, "said") }
func (d draw) number() uint64 { return rapid.Uint64().Draw(d.T, "number") }
func (d draw) yes() bool      { return rapid.Bool().Draw(d.T, "yes") }
func (d draw) mac() ether.MAC { return ether.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(d.T, "mac")) }
func (d draw) lasting() time.Duration {
	return time.Duration(rapid.Int64Range(0, 1e9).Draw(d.T, "µs")) * time.Microsecond
}

func (d draw) ip() netip.Addr {
	if d.yes() {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(d.T, "v4")))
	}
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(d.T, "v6")))
}

func (d draw) addr() netip.AddrPort {
	return netip.AddrPortFrom(d.ip(), rapid.Uint16().Draw(d.T, "port"))
}

// some draws a list of up to three.
func some[E any](d draw, one func() E) (list []E) {
	for range rapid.IntRange(0, 3).Draw(d.T, "how many") {
		list = append(list, one())
	}
	return list
}

func (d draw) origin() overlay.Origin {
	return rapid.SampledFrom([]overlay.Origin{overlay.OriginUser, overlay.OriginLearned, overlay.OriginAdapted, overlay.OriginStar}).Draw(d.T, "origin")
}

func (d draw) side(any bool) overlay.Side {
	switch n := rapid.IntRange(0, 2).Draw(d.T, "side"); {
	case n == 0 && any:
		return overlay.Side{}
	case n == 1:
		return overlay.AtLink(d.name())
	}
	return overlay.AtPort(string(d.name()))
}

func (d draw) rule() overlay.Rule {
	match := func(kinds ...overlay.MatchKind) overlay.Match {
		m := overlay.Match{Kind: rapid.SampledFrom(kinds).Draw(d.T, "kind")}
		if m.Kind == overlay.Exact || m.Kind == overlay.Not {
			m.MAC = d.mac()
		}
		return m
	}
	return overlay.Rule{
		ID: d.number(), Arrival: d.side(true), Out: d.side(false), Origin: d.origin(),
		Src: match(overlay.Exact, overlay.Not, overlay.Any), Dst: match(overlay.Exact, overlay.Any, overlay.None),
	}
}

func (d draw) place() control.Place {
	return control.Place{MAC: d.mac(), Node: d.name(), Port: string(d.name()), Mobility: d.number(), IPs: some(d, d.ip), Declared: d.yes()}
}

func (d draw) tally() vttif.Tally {
	return vttif.Tally{OfferedBytes: d.number(), OfferedFrames: d.number(), OfferedBare: d.number(), DeliveredBytes: d.number(), DeliveredFrames: d.number()}
}

// messages are all kinds there are.
func (d draw) messages() map[string]any {
	spec := func() control.LinkSpec {
		return control.LinkSpec{Peer: d.name(), PeerAddrs: some(d, d.addr), Dial: d.yes(), Origin: d.origin(), Carrier: "udp"}
	}
	return map[string]any{
		"hello": control.Hello{
			Name: d.name(), Version: "1", Boot: d.number(), Generation: d.number(), Candidates: some(d, d.addr), Rules: some(d, d.rule),
			Ports: some(d, func() control.PortInfo { return control.PortInfo{Name: string(d.name()), LAN: d.yes(), MTU: 1500} }),
			Links: some(d, func() control.LinkInfo {
				return control.LinkInfo{Peer: d.name(), Origin: d.origin(), Carrier: "tcp", Up: d.yes(), RTT: d.lasting()}
			}),
		},
		"welcome": control.Welcome{Proxy: d.name(), Overlay: d.text(), Boot: d.number(), Generation: d.number(), Bound: d.lasting(), Flood: d.yes(), ProbeKey: []byte{1, 2}},
		"announce": control.Announce{Boot: d.number(), Seq: d.number(), Seen: some(d, func() control.Sighting {
			return control.Sighting{MAC: d.mac(), Port: string(d.name()), IPs: some(d, d.ip), Gratuitous: d.yes(), Gone: d.yes()}
		})},
		"directory": control.Directory{Version: d.number(), Full: d.yes(), Places: some(d, d.place), Gone: some(d, d.mac)},
		"request": control.StageRequest{
			Change: d.number(), Stage: control.StageFlip, OpenLinks: some(d, spec), AddRules: some(d, d.rule), DeleteRules: some(d, d.number),
			CloseLinks: some(d, d.name), Generation: d.number(), Wait: d.lasting(),
		},
		"reply": control.StageReply{
			Change: d.number(), Stage: control.StageDelete, OK: d.yes(), Error: d.said(), Opened: some(d, d.name), Took: d.lasting(),
			Failed: some(d, func() control.LinkFailure { return control.LinkFailure{Peer: d.name(), Error: d.said()} }),
		},
		"call":   control.Call{ID: d.number(), Node: d.name(), Method: d.text(), Body: []byte{3}},
		"answer": control.Answer{ID: d.number(), Body: []byte{4}, Code: d.said(), Error: d.said()},
		"traffic": vttif.Report{Boot: d.number(), Seq: d.number(), Other: d.tally(), Deltas: some(d, func() vttif.Delta {
			return vttif.Delta{Pair: vttif.Pair{Src: d.mac(), Dst: d.mac()}, Tally: d.tally()}
		})},
		"event": Event{Time: time.UnixMicro(1), Kind: d.said(), Text: d.said(), Fields: map[string]string{"k": d.said()}},
		"ready": Ready{},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for kind, message := range (draw{t}).messages() {
			data, err := Encode(message)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			got, err := Decode(data)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if !reflect.DeepEqual(got, message) {
				t.Fatalf("%s:\n got %+v\nwant %+v", kind, got, message)
			}
		}
	})
}

func TestForeignMessagesAreRefused(t *testing.T) {
	if _, err := Encode(42); err == nil {
		t.Error("a number is no message")
	}
	bad := map[string]any{
		"a bad name":      control.Hello{Name: "No Such Name"},
		"a bad peer":      control.StageRequest{Stage: control.StagePrepare, OpenLinks: []control.LinkSpec{{Peer: "../x"}}},
		"a bad stage":     control.StageRequest{Stage: 99},
		"a bad place":     control.Directory{Places: []control.Place{{Node: ""}}},
		"a bad asker":     control.Call{Node: "a b"},
		"a nameless home": control.Welcome{},
	}
	for what, message := range bad {
		data, err := Encode(message)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err == nil {
			t.Errorf("%s was taken: %+v", what, got)
		}
	}
	if _, err := Decode(nil); err == nil {
		t.Error("nothing was taken for a message")
	}
}

// A peer is known but not trusted: whatever it sends, Decode does not panic,
// and what it takes it can send on.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	for _, message := range []any{
		Ready{}, control.Hello{Name: "h1", Ports: []control.PortInfo{{Name: "vm1"}}}, control.Welcome{Proxy: "p"},
		control.Announce{Seen: []control.Sighting{{MAC: mac(1)}}}, control.Directory{Gone: []ether.MAC{mac(1)}},
		control.StageRequest{Stage: control.StageFlip, CloseLinks: []overlay.Name{"h2"}},
		control.StageReply{Failed: []control.LinkFailure{{Peer: "h2"}}},
		vttif.Report{Deltas: []vttif.Delta{{Pair: vttif.Pair{Src: mac(1), Dst: mac(2)}}}},
		control.Call{Method: "ListLinks"}, control.Answer{Error: "no"}, control.Tune{Report: time.Second},
		Event{Kind: "link.up", Fields: map[string]string{"peer": "h2"}}, TrustList("{}"),
	} {
		data, err := Encode(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		message, err := Decode(data)
		if err != nil {
			return
		}
		first := wire(t, message)
		if second := wire(t, first); !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v", first, second)
		}
	})
}

// wire sends a message and receives it.
func wire(t *testing.T, message any) any {
	t.Helper()
	data, err := Encode(message)
	if err != nil {
		t.Fatalf("%T was taken and cannot be sent: %v", message, err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatalf("%+v is not taken a second time: %v", message, err)
	}
	return back
}
