package proxy

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

// keyInference is where the parameters a user chose lie on disk.
const keyInference = "inference"

// inference is what a user chose of vttif.Config; the rest of that is memory and never changes.
type inference struct {
	Rate                                           float64 `json:"rate_hz"`
	High, Low, Floor                               float64
	Window, AddAfter, Settle, RemoveAfter, Silence time.Duration
	Global                                         bool
}

// config fills in what the Proxy was started with.
func (i inference) config(c vttif.Config) vttif.Config {
	c.UpdateRate, c.High, c.Low, c.Floor, c.Global = i.Rate, i.High, i.Low, i.Floor, i.Global
	c.Window, c.AddAfter, c.Settle, c.RemoveAfter, c.GroupOver = i.Window, i.AddAfter, i.Settle, i.RemoveAfter, i.Silence
	return c
}

func inferenceOf(c vttif.Config) inference {
	return inference{
		Rate: c.UpdateRate, High: c.High, Low: c.Low, Floor: c.Floor, Global: c.Global,
		Window: c.Window, AddAfter: c.AddAfter, Settle: c.Settle, RemoveAfter: c.RemoveAfter, Silence: c.GroupOver,
	}
}

// mostWindow bounds the memory of each pair; the paper's longest was below it.
const mostWindow = time.Minute

// change takes over what a request sets.
func (i *inference) change(m *vnetv1.Inference) error {
	set := func(to *float64, from *float64) {
		if from != nil {
			*to = *from
		}
	}
	last := func(to *time.Duration, from *durationpb.Duration) {
		if from != nil {
			*to = from.AsDuration()
		}
	}
	if m == nil {
		return nil // only where to begin from was said
	}
	if m.FloorBps != nil {
		i.Floor = m.GetFloorBps() / 8
	}
	if m.Global != nil {
		i.Global = m.GetGlobal()
	}
	set(&i.Rate, m.UpdateRateHz)
	set(&i.High, m.High)
	set(&i.Low, m.Low)
	last(&i.Window, m.Window)
	last(&i.AddAfter, m.AddAfter)
	last(&i.Settle, m.Settle)
	last(&i.RemoveAfter, m.RemoveAfter)
	last(&i.Silence, m.GroupOver)
	for _, share := range []float64{i.High, i.Low} {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("cannot use %v as a threshold: give a share from 0 to 1", share)
		}
	}
	if math.IsNaN(i.Floor) || math.IsInf(i.Floor, 0) {
		return fmt.Errorf("cannot use %v as a floor: give bit/s, below 0 for none", i.Floor)
	}
	if i.Window > mostWindow {
		return fmt.Errorf("cannot sum traffic over %v: give up to %v", i.Window, mostWindow)
	}
	if !(i.Rate >= 0 && i.Rate <= 20) {
		return fmt.Errorf("cannot report %v times a second: give up to 20", i.Rate)
	}
	return nil
}

// SetInference changes the parameters of VTTIF, which starts anew.
func (p *Proxy) SetInference(ctx context.Context, req *vnetv1.SetInferenceRequest) (*vnetv1.SetInferenceResponse, error) {
	out := &vnetv1.SetInferenceResponse{}
	var refused error
	err := p.ask(ctx, func(h *hub) {
		next := inferenceOf(h.inferring)
		switch {
		case req.GetDefaults():
			next = inferenceOf(p.cfg.VTTIF)
		case req.GetSeed():
			next = inferenceOf(vttif.Seed(seedWindow, seedThreshold))
		}
		if refused = next.change(req.GetInference()); refused == nil {
			h.reinfer(next)
			h.put(keyInference, next)
		}
		out.Inference = h.describeInference()
	})
	if refused != nil {
		return nil, invalid("%w", refused)
	}
	return out, p.saved(ctx, err)
}

const (
	seedWindow    = time.Second // the paper's settle time of 1 s (§2.2)
	seedThreshold = 0.1
)

// reinfer starts the inference anew with other parameters.
func (h *hub) reinfer(i inference) {
	h.inferring = i.config(h.p.cfg.VTTIF)
	h.inferring.LAN = h.onLAN
	h.infer = vttif.NewInferrer(h.inferring)
	h.infer.Bound(h.bound.Value().Value)
	h.topology = vttif.Topology{}
	if h.recorder != nil {
		h.recorder.end(fmt.Errorf("cannot go on recording: the parameters were changed"))
	}
	for name := range h.hosts {
		h.tell(name, h.tune(name))
	}
	h.node.Told(h.tune(h.record.Proxy))
}

// tune is how often nodes are to report.
// ownTraffic leaves of a host's report what it can know: of a pair, what was offered where the sender lives, and delivered where
// the receiver does. The rest is counted as other, so that a host that lies makes no application out of others' VMs.
func (h *hub) ownTraffic(peer overlay.Name, m *vttif.Report) {
	elsewhere := func(mac ether.MAC) bool {
		place, known := h.places.Place(mac)
		return known && place.Node != peer
	}
	kept := m.Deltas[:0]
	for _, d := range m.Deltas {
		t := d.Tally
		if t.OfferedFrames > 0 && elsewhere(d.Src) {
			d.OfferedBytes, d.OfferedFrames, d.OfferedBare = 0, 0, 0
		}
		if t.DeliveredFrames > 0 && elsewhere(d.Dst) {
			d.DeliveredBytes, d.DeliveredFrames = 0, 0
		}
		m.Other = m.Other.Plus(t.Minus(d.Tally))
		if !d.Tally.IsZero() {
			kept = append(kept, d)
		}
	}
	m.Deltas = kept
	m.Bins = slices.DeleteFunc(m.Bins, func(b vttif.Bins) bool { return !b.Delivered && elsewhere(b.Src) || b.Delivered && elsewhere(b.Dst) })
}

func (h *hub) tune(to overlay.Name) control.Tune {
	m := control.Tune{Report: h.inferring.Interval()}
	for _, l := range h.will.Ports {
		if l.Node == to {
			m.Ports = append(m.Ports, l)
		}
	}
	return m
}

func (h *hub) describeInference() *vnetv1.Inference {
	c := h.inferring.Cooked()
	floor := 8 * c.Floor
	return &vnetv1.Inference{
		UpdateRateHz: &c.UpdateRate, High: &c.High, Low: &c.Low, FloorBps: &floor, Global: &c.Global,
		Window: durationpb.New(c.Window), AddAfter: durationpb.New(c.AddAfter), Settle: durationpb.New(c.Settle),
		RemoveAfter: durationpb.New(c.RemoveAfter), GroupOver: durationpb.New(c.GroupOver),
	}
}
