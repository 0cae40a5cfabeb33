package node

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// The cache lets a node restart without the Proxy: its rules,
// its fast paths with their peers' addresses, and where MACs live.
const (
	cacheBucket = "node"
	keyRules    = "rules"
	keyLinks    = "links"
	keyPlaces   = "places"
	keyProxy    = "proxy"
	keyCiphers  = "ciphers"
	keyExtra    = "extra ports"
	keySeals    = "seals"
	keyLimits   = "limits"
)

// cachedRule is a rule as text, so that the cache outlives changes of layout.
type cachedRule struct {
	ID     uint64 `json:"id"`
	Rule   string `json:"rule"`
	Origin string `json:"origin"`
}

type cachedProxy struct {
	Name       string `json:"name"`
	Generation uint64 `json:"generation"`
	FloodOff   bool   `json:"flood_off"`
	ProbeKey   []byte `json:"probe_key"`
}

// save has one entry written. Frames and stages do not wait for the disk.
func (s *state) save(key string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		s.n.cfg.Log.Error("cannot write down the cache", "key", key, "error", err)
		return
	}
	s.n.disk.Put(cacheBucket, key, text)
}

// diskSays takes down that a disk is full, or is not any more. It must not stop
// traffic: the node goes on with what it has in memory.
func (n *Node) diskSays(err error) {
	if err != nil {
		n.cfg.Log.Error("cannot save the cache", "error", err)
	}
	n.do(func(s *state) {
		delete(s.warning, "cache")
		if err != nil {
			s.warning["cache"] = fmt.Sprintf("cannot save what a restart without the Proxy needs: %v; free some disk space", err)
		}
	})
}

// unsaved says what in memory is newer than on disk. It is written at the next
// tick: nobody waits for the disk, and many edits cost one write. A node that
// dies before is put right by the Proxy, which asks what it holds.
type unsaved struct{ rules, links bool }

func (s *state) saveRules() { s.unsaved.rules = true }

func (s *state) saveLinks() { s.unsaved.links = true }

func (s *state) flushCache() {
	if s.n.isProxy() { // its record is the cache
		s.unsaved = unsaved{}
		return
	}
	if s.unsaved.rules {
		s.unsaved.rules = false
		s.writeRules()
	}
	if s.unsaved.links {
		s.unsaved.links = false
		s.writeLinks()
	}
}

func (s *state) writeRules() {
	var list []cachedRule
	for _, r := range s.firmRules() {
		list = append(list, cachedRule{ID: r.ID, Rule: r.String(), Origin: r.Origin.String()})
	}
	s.save(keyRules, list)
}

func (s *state) writeLinks() {
	var list []control.LinkSpec
	for _, one := range s.slots {
		if one.wanted && one != s.star {
			list = append(list, one.spec)
		}
	}
	s.save(keyLinks, list)
}

// savePlaces is put off to the next tick that finds it due: a directory that
// changes often is not written as often.
func (s *state) savePlaces() {
	if s.placesAt.IsZero() {
		s.placesAt = time.Now().Add(time.Second)
	}
}

func (s *state) flushPlaces(now time.Time) {
	if s.placesAt.IsZero() || now.Before(s.placesAt) {
		return
	}
	s.placesAt = time.Time{}
	list := make([]control.Place, 0, len(s.places))
	for _, p := range s.places {
		list = append(list, p)
	}
	s.save(keyPlaces, list)
}

func (s *state) saveProxy() {
	s.save(keyProxy, cachedProxy{Name: string(s.proxy), Generation: s.generation, FloodOff: s.flood.Off, ProbeKey: s.lans.key})
}

// restore reads the cache. What it cannot read is left out and reported: the
// Proxy gives it again.
func (s *state) restore() error {
	s.restoreCiphers()
	s.restoreExtraPorts()
	if s.n.isProxy() {
		return nil // the Proxy's own record is the truth
	}
	s.restoreLimits()
	var proxy cachedProxy
	if s.load(keyProxy, &proxy) {
		s.generation, s.flood.Off = proxy.Generation, proxy.FloodOff
		s.lans.keyed(proxy.ProbeKey)
	}
	s.proxy = overlay.Name(s.n.cfg.ProxyName)
	s.restoreSeals()
	s.star = s.slot(s.proxy)
	s.refloods()
	var links []control.LinkSpec
	s.load(keyLinks, &links)
	for _, spec := range links {
		if overlay.ValidName(string(spec.Peer)) != nil || spec.Peer == s.n.name || spec.Peer == s.proxy {
			s.n.cfg.Log.Warn("cached link left out", "peer", string(spec.Peer))
			continue
		}
		one := s.slot(spec.Peer)
		one.wanted, one.spec, one.origin = true, spec, spec.Origin
	}
	var places []control.Place
	s.load(keyPlaces, &places)
	for _, p := range places {
		if p.Node != s.n.name && overlay.ValidName(string(p.Node)) == nil {
			s.placed(p)
		}
	}
	var rules []cachedRule
	s.load(keyRules, &rules)
	for _, c := range rules {
		r, err := overlay.ParseRule(c.Rule)
		if err == nil {
			r.ID = c.ID
			r.Origin, err = overlay.ParseOrigin(c.Origin)
		}
		if err == nil && r.ID&learnedBit != 0 {
			err = fmt.Errorf("cannot use rule id %d: ids from 2^63 belong to learned rules", r.ID)
		}
		if err == nil {
			err = s.change([]overlay.Rule{r}, nil)
		}
		if err != nil {
			s.n.cfg.Log.Warn("cached rule left out", "rule", c.Rule, "error", err)
		}
	}
	return nil
}

func (s *state) load(key string, into any) bool {
	text, err := s.n.cfg.Store.Get(cacheBucket, key)
	if err != nil || text == nil {
		return false
	}
	if err := json.Unmarshal(text, into); err != nil {
		s.n.cfg.Log.Warn("cached entry left out", "key", key, "error", err)
		return false
	}
	return true
}

// startKeepers begins to dial what is wanted: the star, and cached fast paths.
func (s *state) startKeepers() {
	if s.n.isProxy() {
		return
	}
	wish := ""
	if s.n.cfg.Carrier != 0 {
		wish = s.n.cfg.Carrier.String()
	}
	s.want(control.LinkSpec{Peer: s.proxy, Dial: true, Origin: overlay.OriginStar, Carrier: wish})
	for _, one := range s.slots {
		if one != s.star && one.wanted {
			s.want(one.spec)
		}
	}
}

// close ends every session; the endpoint says goodbye to the peers.
func (s *state) close() {
	s.flushCache()
	for _, one := range s.slots {
		for _, in := range one.live {
			in.l.Close("shutting down")
		}
	}
}
