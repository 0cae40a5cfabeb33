package node

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/forward"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// A trace probe is a frame between two VMs that every node forwards like any other and reports, and that no node
// hands to a port: header, mark, number of the trace, and the overlay's own signature, so that no guest can make one.
const (
	traceType  = 0x88b5 // for experiments (IEEE Std 802, local experimental EtherType 1)
	traceMark  = "vnet trace\x00\x01"
	traceID    = 14 + len(traceMark)
	traceSum   = traceID + 8
	traceFrame = traceSum + sha256.Size
	// tracesAhead is how many reports may wait for the loop; more than the hops of the longest way.
	tracesAhead = 256
)

// KindTrace is the kind of the event that reports a probe at one node. It goes to the Proxy and nowhere else.
const KindTrace = "trace.hop"

// TraceProbe makes the probe that stands for a frame from src to dst.
func TraceProbe(key []byte, id uint64, src, dst ether.MAC) ether.Frame {
	f := make(ether.Frame, traceFrame)
	copy(f, dst[:])
	copy(f[6:], src[:])
	binary.BigEndian.PutUint16(f[12:], traceType)
	copy(f[14:], traceMark)
	binary.BigEndian.PutUint64(f[traceID:], id)
	copy(f[traceSum:], traceSignature(key, f))
	return f
}

func traceSignature(key []byte, f ether.Frame) []byte {
	sum := hmac.New(sha256.New, key)
	sum.Write([]byte("trace"))
	sum.Write(f[:traceSum])
	return sum.Sum(nil)
}

// isTrace tells whether a valid frame is a genuine probe. It costs other frames two comparisons.
func isTrace(s *snapshot, f ether.Frame) bool {
	if f[12] != traceType>>8 || f[13] != traceType&0xff {
		return false
	}
	return len(f) >= traceFrame && bytes.Equal(f[14:traceID], []byte(traceMark)) && len(s.probeKey) > 0 &&
		hmac.Equal(f[traceSum:traceFrame], traceSignature(s.probeKey, f))
}

// traced is one probe at this node, as a worker saw it.
type traced struct {
	id      uint64
	arrival forward.Side
	verdict forward.Verdict
}

// trace forwards a probe as v says, but to no port, and reports it.
func (w *worker) trace(s *snapshot, arrival forward.Side, p *ether.Packet, v forward.Verdict) {
	select {
	case w.node.traces <- traced{binary.BigEndian.Uint64(p.Frame[traceID:]), arrival, v}:
	default: // the trace then says that it was lost
	}
	outs := v.Outs
	switch v.Action {
	case forward.Forward:
		outs = []forward.Side{v.Out}
	case forward.FloodTree:
		if len(outs) == 0 {
			w.counts.drops[DropNoPorts].add(1)
			return
		}
		w.counts.copies.add(uint64(len(outs) - 1))
	default:
		w.counts.reasons[v.Reason].add(1)
		return
	}
	for _, out := range outs {
		if out.IsLink() {
			w.put(out, p)
		} else {
			w.counts.drops[DropTrace].add(1)
		}
	}
}

// report tells the Proxy what this node did with a probe.
func (s *state) report(t traced) {
	name := func(side forward.Side) string {
		if side.IsLink() {
			return overlay.AtLink(s.slots[side.Index()].peer).String()
		}
		return overlay.AtPort(s.n.ports[side.Index()].name).String()
	}
	fields := map[string]string{
		"trace": strconv.FormatUint(t.id, 10), "arrival": name(t.arrival), "rank": strconv.Itoa(t.verdict.Rank),
		"action": t.verdict.Action.String(), "reason": t.verdict.Reason.String(), "id": strconv.FormatUint(t.verdict.Rule, 10),
	}
	var outs []string
	switch t.verdict.Action {
	case forward.Forward:
		outs = []string{name(t.verdict.Out)}
	case forward.FloodTree:
		for _, out := range t.verdict.Outs {
			outs = append(outs, name(out))
		}
	}
	fields["outs"] = strings.Join(outs, " ")
	r, ok := s.rules[t.verdict.Rule]
	if !ok {
		r, ok = s.learnedRules[t.verdict.Rule]
	}
	if ok {
		fields["rule"], fields["origin"] = r.String(), r.Origin.String()
	}
	s.n.tell(Event{Node: string(s.n.name), Kind: KindTrace, Fields: fields})
}

// MethodProbe has a node take in a trace probe as if it came from a port.
const MethodProbe = "Probe"

// Probe is the body of that call.
type Probe struct {
	Port  string `json:"port"`
	Frame []byte `json:"frame"`
}

// Probe takes in a trace probe as if it came from one of the node's ports.
func (n *Node) Probe(p Probe) error {
	err := fmt.Errorf("cannot probe from port %q: %s has none of that name", p.Port, n.name)
	ok := n.do(func(s *state) {
		s.publishIfDirty()
		f := ether.Frame(p.Frame)
		if !f.Valid() || !isTrace(n.snapshot.Load(), f) {
			err = fmt.Errorf("cannot probe from %s: the probe does not bear the overlay's signature", n.name)
			return
		}
		for _, at := range n.ports {
			if at.name == p.Port {
				n.workers[loopLane].run(at.side, []ether.Packet{{Frame: f}})
				err = nil
			}
		}
	})
	if !ok {
		return errStopping
	}
	return err
}

// SendProbe has another node take in a probe.
func (n *Node) SendProbe(ctx context.Context, at overlay.Name, p Probe) error {
	if at == n.name {
		return n.Probe(p)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	a, err := n.Call(ctx, at, MethodProbe, body)
	if err == nil && a.Code != "" {
		err = fmt.Errorf("%s", a.Error)
	}
	return err
}

// serveProbe answers MethodProbe.
func (n *Node) serveProbe(c control.Call) control.Answer {
	var p Probe
	err := json.Unmarshal(c.Body, &p)
	if err == nil {
		err = n.Probe(p)
	}
	if err != nil {
		return control.Answer{ID: c.ID, Code: "failed_precondition", Error: err.Error()}
	}
	return control.Answer{ID: c.ID}
}
