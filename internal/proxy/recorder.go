package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/adapt"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// recorder writes down what inference and planner hear. Beside it runs a replica of both that began when it did and hears
// what is written, nothing else: its decisions go into the recording, so that a replay can be compared bit for bit. It
// belongs to the hub.
type recorder struct {
	h       *hub
	replica *replica
	lines   chan []byte // closed at the end
	failed  error       // why it ended, when it was not the client
	viewed  string      // the last view written
	lan     []ether.MAC // the last written
	over    bool
}

// linesKept is how many lines a client may be behind: some 20 s of a small overlay.
const linesKept = 4096

// line is one line of a recording; exactly one field is set.
type line struct {
	Start    *startLine      `json:"start,omitempty"`
	Report   *reportLine     `json:"report,omitempty"`
	View     *viewLine       `json:"view,omitempty"`
	LAN      *[]ether.MAC    `json:"lan,omitempty"` // all that live behind LAN ports
	Step     int64           `json:"step,omitempty"`
	Decision json.RawMessage `json:"decision,omitempty"`
}

// startLine opens a recording. Times are in nanoseconds since 1970 everywhere.
type startLine struct {
	Format    int       `json:"format"`
	At        int64     `json:"at"`
	Overlay   string    `json:"overlay"`
	Inference inference `json:"inference"`
}

// recordFormat is the version of the layout of recordings.
const recordFormat = 1

type reportLine struct {
	At   int64  `json:"at"`
	Node string `json:"node"`
	Data []byte `json:"data"` // the message as it came over the control stream
}

// recordFrom begins a recording.
func (h *hub) recordFrom(now time.Time) *recorder {
	r := &recorder{h: h, replica: newReplica(inferenceOf(h.inferring)), lines: make(chan []byte, linesKept)}
	r.write(line{Start: &startLine{
		Format: recordFormat, At: now.UnixNano(), Overlay: h.p.cfg.Node.Identity.Overlay, Inference: inferenceOf(h.inferring),
	}})
	return r
}

func (r *recorder) write(l line) {
	if r.over {
		return
	}
	text, err := json.Marshal(l)
	if err == nil {
		var decision []byte
		if decision, err = r.replica.hear(l); err == nil {
			r.send(text)
			if decision != nil {
				r.write(line{Decision: decision})
			}
			return
		}
	}
	r.end(fmt.Errorf("cannot record: %w", err))
}

func (r *recorder) send(text []byte) {
	select {
	case r.lines <- text:
	default:
		r.end(fmt.Errorf("cannot record: the client does not keep up"))
	}
}

// end closes the recording; a nil error is the client's wish.
func (r *recorder) end(err error) {
	if !r.over {
		r.over, r.failed = true, err
		close(r.lines)
	}
	if r.h.recorder == r {
		r.h.recorder = nil
	}
}

func (r *recorder) report(now time.Time, m vttif.Report) {
	data, err := node.Encode(m)
	if err != nil {
		r.end(err)
		return
	}
	r.write(line{Report: &reportLine{At: now.UnixNano(), Node: m.Node, Data: data}})
}

// step writes what changed of the view, and that inference and policy looked at it.
func (r *recorder) step(now time.Time, v adapt.View) {
	lan := []ether.MAC{}
	for _, p := range r.h.places.Snapshot() {
		if r.h.onLAN(p.MAC) {
			lan = append(lan, p.MAC)
		}
	}
	slices.SortFunc(lan, ether.MAC.Compare)
	if !slices.Equal(lan, r.lan) {
		r.lan = lan
		r.write(line{LAN: &lan})
	}
	view := viewOut(v, r.h.settings)
	text, err := json.Marshal(view)
	if err != nil {
		r.end(err)
		return
	}
	if string(text) != r.viewed {
		r.viewed = string(text)
		var own viewLine // the replica must not see what the hub changes later
		if err := json.Unmarshal(text, &own); err != nil {
			r.end(err)
			return
		}
		r.write(line{View: &own})
	}
	r.write(line{Step: now.UnixNano()})
}

// RecordTraffic streams a recording until the client leaves.
func (p *Proxy) RecordTraffic(ctx context.Context, _ *vnetv1.RecordTrafficRequest, send func(*vnetv1.RecordTrafficResponse) error) error {
	var r *recorder
	if err := p.ask(ctx, func(h *hub) {
		if h.recorder == nil {
			r = h.recordFrom(time.Now())
			h.recorder = r
		}
	}); err != nil {
		return err
	}
	if r == nil {
		return vnetv1.Errorf(connect.CodeFailedPrecondition, "cannot record: somebody else does").
			WithHint("end that recording first; its file can be copied")
	}
	defer p.ask(context.WithoutCancel(ctx), func(*hub) { r.end(nil) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case text, ok := <-r.lines:
			if !ok {
				return r.failed
			}
			if err := send(&vnetv1.RecordTrafficResponse{Line: text}); err != nil {
				return err
			}
		}
	}
}
