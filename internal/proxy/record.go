package proxy

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// What the Proxy keeps on disk, so that a restart finds the overlay as it was.
const (
	recordBucket = "proxy"
	keyRecord    = "record"
	keyPlaces    = "places"
	keyBound     = "bound"
	keySettings  = "adaptation"
	keyProbe     = "probe-key"
)

// idsAhead is how many numbers of rules the disk is ahead: enough that most
// changes do not wait for it, few enough that numbers stay short.
const idsAhead = 256

// saved is the record as it lies on disk: text forms outlive changes of layout.
type saved struct {
	Generation uint64                    `json:"generation"`
	NextID     uint64                    `json:"next_rule"`
	FloodOff   bool                      `json:"flood_off"`
	Ports      map[string][]overlay.Port `json:"ports"`
	Links      []overlay.Link            `json:"links"`
	Rules      map[string][]savedRule    `json:"rules"`
}

type savedRule struct {
	ID     uint64 `json:"id"`
	Rule   string `json:"rule"`
	Origin string `json:"origin"`
}

type savedBound struct {
	Samples []time.Duration `json:"samples_ns"`
	User    time.Duration   `json:"user_ns"`
}

// put has one entry written: the hub does not wait for the disk. What a Proxy
// that dies has not written yet nobody was told of (see Proxy.saved); nodes that
// did it already are asked what they hold, and put right.
func (h *hub) put(key string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		h.p.event("warning", fmt.Sprintf("cannot write down %s: %v", key, err), nil)
		return
	}
	h.p.disk.Put(recordBucket, key, text)
}

func (h *hub) get(key string, into any) (bool, error) {
	text, err := h.p.cfg.Store.Get(recordBucket, key)
	if err != nil || text == nil {
		return false, err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, fmt.Errorf("cannot read the Proxy's %s: %w; restore the state directory from a backup", key, err)
	}
	return true, nil
}

func (h *hub) save() {
	if h.nextID+idsAhead/2 >= h.ids {
		h.ids = h.nextID + idsAhead
	}
	out := saved{
		Generation: h.record.Generation, NextID: h.ids, FloodOff: !h.record.Flood,
		Ports: map[string][]overlay.Port{}, Rules: map[string][]savedRule{}, Links: h.record.Links,
	}
	for name, n := range h.record.Nodes {
		out.Ports[string(name)] = n.Ports
		for _, r := range n.Rules {
			out.Rules[string(name)] = append(out.Rules[string(name)], savedRule{ID: r.ID, Rule: r.String(), Origin: r.Origin.String()})
		}
	}
	h.put(keyRecord, out)
}

func (h *hub) savePlaces() {
	if h.placesDue.IsZero() {
		h.placesDue = time.Now().Add(time.Second)
	}
}

func (h *hub) flushPlaces(now time.Time) {
	if !h.placesDue.IsZero() && now.After(h.placesDue) {
		h.placesDue = time.Time{}
		h.put(keyPlaces, h.places.Snapshot())
	}
}

func (h *hub) saveBound() {
	out := savedBound{Samples: h.bound.Samples()}
	if v := h.bound.Value(); v.Origin == control.BoundUser {
		out.User = v.Value
	}
	h.put(keyBound, out)
}

// restore reads all of it. A record that cannot be read stops the Proxy: to go
// on without it would take the user's rules away.
func (h *hub) restore(now time.Time) error {
	h.record = overlay.New(overlay.Name(h.p.cfg.Node.Identity.Name))
	h.record.Flood = true
	h.nextID = 1
	var in saved
	if ok, err := h.get(keyRecord, &in); err != nil {
		return err
	} else if ok {
		if err := h.load(in); err != nil {
			return err
		}
	}
	if err := h.restoreWill(); err != nil {
		return err
	}
	var places []control.Place
	if _, err := h.get(keyPlaces, &places); err != nil {
		return err
	}
	h.places.Restore(now, places)
	for _, p := range places {
		h.record.VMs[p.MAC] = overlay.VM{MAC: p.MAC, Name: h.vmName(p), Node: p.Node, Port: p.Port, Declared: p.Declared}
	}
	var bound savedBound
	if _, err := h.get(keyBound, &bound); err != nil {
		return err
	}
	h.bound.Restore(bound.Samples, bound.User)
	h.infer.Bound(h.bound.Value().Value)
	if err := h.restoreAdaptation(); err != nil {
		return err
	}
	var chosen inference
	if ok, err := h.get(keyInference, &chosen); err != nil {
		return err
	} else if ok {
		h.reinfer(chosen)
	}
	if ok, err := h.get(keyProbe, &h.key); err != nil {
		return err
	} else if !ok {
		h.put(keyProbe, h.key)
	}
	return nil
}

func (h *hub) load(in saved) error {
	h.record.Generation, h.record.Flood = in.Generation, !in.FloodOff
	h.nextID = max(h.nextID, in.NextID)
	for name, ports := range in.Ports {
		n, ok := h.record.Nodes[overlay.Name(name)]
		if !ok {
			n = &overlay.Node{Name: overlay.Name(name)}
			h.record.Nodes[n.Name] = n
		}
		n.Ports = ports
	}
	for _, l := range in.Links {
		h.record.AddLink(l)
	}
	for name, rules := range in.Rules {
		n, ok := h.record.Nodes[overlay.Name(name)]
		if !ok {
			continue
		}
		for _, s := range rules {
			r, err := overlay.ParseRule(s.Rule)
			if err == nil {
				r.Origin, err = overlay.ParseOrigin(s.Origin)
			}
			if err != nil {
				return fmt.Errorf("cannot read rule %d of %s: %w", s.ID, name, err)
			}
			r.ID = s.ID
			n.Rules = append(n.Rules, r)
		}
	}
	return nil
}
