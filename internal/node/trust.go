package node

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/link"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
	"github.com/virtuoso-vnet/virtuoso/internal/store"
)

// What a node remembers of trust: the newest signed list, as it came, and the
// keys it has seen.
const (
	trustBucket = "trust"
	keyList     = "list"
	keyPins     = "pins"
)

// MethodTrust brings a node a signed list; the answer, which is the number of
// the list it has then, comes when it is on the node's disk. Without a body it
// asks for the list that the node has.
const MethodTrust = "Trust"

// believe gives the node's identity its memory.
func (n *Node) believe() (*pki.Identity, error) {
	id := *n.cfg.Identity
	if id.Trust == nil {
		var err error
		if id.Trust, err = pki.NewTrust(&id); err != nil {
			return nil, err
		}
	}
	n.trust = id.Trust
	n.trust.OnPin(n.savePins)
	n.trust.OnWrong(n.keyIsWrong)
	if n.cfg.Sealed {
		n.trust.Strict()
	}
	if !n.isProxy() {
		n.trust.Away(func() bool { return n.starLink() == nil })
	}
	n.identity.Store(&id)
	return &id, nil
}

// Trust is whom the node believes.
func (n *Node) Trust() *pki.Trust { return n.trust }

// Identity is what the node shows others now.
func (n *Node) Identity() *pki.Identity { return n.identity.Load() }

// Wall is the machine's clock by its calendar, which people and other machines set: certificates go by it, and nothing else does.
func (n *Node) Wall() time.Time { return n.Identity().Now() }

// Renew has the node show another certificate, for the same key, from now on.
func (n *Node) Renew(id *pki.Identity) {
	n.identity.Store(id)
	n.endpoint.SetIdentity(id)
}

// restoreTrust reads what was remembered. A list that cannot be read stops the
// node: to go on without it would let those in again who were put out.
func (n *Node) restoreTrust() error {
	raw, err := n.cfg.Store.Get(trustBucket, keyList)
	if err == nil && raw != nil {
		_, err = n.trust.Take(raw)
	}
	if err != nil {
		return fmt.Errorf("cannot go on without the list of revoked keys: %w; restore the state directory from a backup, or join again", err)
	}
	pins := map[string]pki.Key{}
	raw, err = n.cfg.Store.Get(trustBucket, keyPins)
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, &pins)
	}
	if err != nil {
		return fmt.Errorf("cannot read the keys of other nodes: %w; restore the state directory from a backup, or join again", err)
	}
	n.trust.RestorePins(pins)
	return nil
}

// keyIsWrong tells whoever watches that somebody passes for another node, or that its machine was set up anew: this node
// cannot know which. It is called in the goroutine of a handshake.
func (n *Node) keyIsWrong(e pki.PinError) {
	n.event(Event{Kind: "trust.key", Text: wrongKey(e), Fields: map[string]string{"node": e.Name, "known": e.Known.String(), "shown": e.Shown.String()}})
}

func wrongKey(e pki.PinError) string {
	return fmt.Sprintf("somebody shows a certificate for %s with the key %v, and its key was %v: refused; compare with `vnet nodes fingerprint` at %s itself, by telephone: "+
		"if its key is the new one, say so here with `vnet nodes forget-key %s`; if not, somebody passes for it, and only who has the Proxy's CA can", e.Name, e.Shown, e.Known, e.Name, e.Name)
}

func (n *Node) savePins(pins map[string]pki.Key) {
	text, err := json.Marshal(pins)
	if err != nil {
		n.cfg.Log.Error("cannot write down the keys of other nodes", "error", err)
		return
	}
	n.disk.Put(trustBucket, keyPins, text)
}

// trusts is the number of the node's list as Hello and Ready tell it.
func (n *Node) trusts() uint64 {
	_, number := n.trust.List()
	return number + 1
}

// passOn gives a neighbour the list when its own is older. A neighbour of a
// version that knows of none is not sent what it could not read.
func (n *Node) passOn(l *link.Link, has uint64) {
	raw, number := n.trust.List()
	if has > 0 && has < number+1 {
		n.send(l, TrustList(raw))
	}
}

// take takes a signed list that came from anywhere: it is on disk, and the links
// of those it names are cut, when take returns.
func (n *Node) take(raw []byte) error {
	newer, err := n.trust.Take(raw)
	if err != nil || !newer {
		if err != nil {
			n.cfg.Log.Warn("list of revoked keys refused", "error", err)
		}
		return err
	}
	n.Distrust() // before the disk: it may be slow, or full
	raw, number := n.trust.List()
	err = n.cfg.Store.Update(func(tx store.Tx) error { return tx.Put(trustBucket, keyList, raw) })
	if err != nil {
		err = fmt.Errorf("cannot store the list of revoked keys: %w", err)
		n.cfg.Log.Error("a restart would forget who was revoked", "error", err)
	}
	n.event(Event{Kind: "trust", Text: fmt.Sprintf("list %d of revoked keys is in force", number), Fields: map[string]string{"number": fmt.Sprint(number)}})
	return err
}

// Take is take for the Proxy that runs on this very node.
func (n *Node) Take(raw []byte) error { return n.take(raw) }

// Distrust cuts every link to a key that is believed no longer.
func (n *Node) Distrust() {
	n.do(func(s *state) {
		for _, one := range s.slots {
			for _, in := range one.live {
				if n.trust.Refuses(in.l.Key()) {
					in.l.Close("revoked")
				}
			}
		}
		s.seals.distrust()
	})
}

// serveTrust answers MethodTrust.
func (n *Node) serveTrust(c control.Call) control.Answer {
	if len(c.Body) == 0 {
		raw, _ := n.trust.List()
		return control.Answer{ID: c.ID, Body: raw}
	}
	if err := n.take(c.Body); err != nil {
		return control.Answer{ID: c.ID, Code: "failed_precondition", Error: err.Error()}
	}
	_, number := n.trust.List()
	return control.Answer{ID: c.ID, Body: fmt.Append(nil, number)}
}

// clockTold is how far the clocks of node and Proxy may differ before status
// says so: half of what certificates tolerate.
const clockTold = pki.ClockSkew / 2

// clockSeen compares the clocks of this node and the Proxy.
func (s *state) clockSeen(now, proxy time.Time) {
	delete(s.warning, "clock")
	if proxy.IsZero() {
		return
	}
	if off := now.Sub(proxy); off.Abs() > clockTold {
		word := "ahead of"
		if off < 0 {
			word = "behind"
		}
		s.warning["clock"] = fmt.Sprintf("this machine's clock is %v %s the Proxy's; at %v certificates are refused: set the clock", off.Abs().Round(time.Second), word, pki.ClockSkew)
	}
}
