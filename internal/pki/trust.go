package pki

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxPins bounds how many nodes' keys are remembered: more than an overlay of ours has nodes.
const maxPins = 10_000

// Trust is what a node knows beyond certificates: the newest signed list of CAs and of keys that are believed no longer, the
// keys it has seen under each name, and whether a Proxy can be reached. It is safe for concurrent use; one Trust serves all
// identities a node has one after the other.
type Trust struct {
	overlay string
	first   *x509.Certificate // the CA the node joined under: signs the first list

	mu      sync.RWMutex // guards the following
	list    *List        // nil before the first
	raw     []byte
	roots   []*x509.Certificate
	revoked map[Key]Revocation
	pins    map[string]Key
	graced  map[string]time.Time // peers accepted after the end of their certificate, and when that ended
	away    func() bool
	member  func(name string, key Key) (known bool, err error)
	onPin   func(map[string]Key)
	suspect map[string]PinError // who showed another key last
	onWrong func(PinError)
	strict  bool                // a revocation makes no room for another key
	fresh   map[string]PinError // who showed another key after the first was revoked
}

// NewTrust begins with the CA that the identity is of.
func NewTrust(id *Identity) (*Trust, error) {
	ca, err := x509.ParseCertificate(id.Cert.Certificate[len(id.Cert.Certificate)-1])
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	return &Trust{
		overlay: id.Overlay, first: ca, roots: []*x509.Certificate{ca},
		revoked: map[Key]Revocation{}, pins: map[string]Key{}, graced: map[string]time.Time{}, suspect: map[string]PinError{}, fresh: map[string]PinError{},
	}, nil
}

// Take replaces the list by a newer one, after checking that a CA the node believes has signed it. It says whether it was
// newer: one that is not is no error.
func (t *Trust) Take(raw []byte) (newer bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list != nil && string(raw) == string(t.raw) {
		return false, nil
	}
	list, roots, err := openList(raw, t.overlay, t.roots)
	if err != nil {
		return false, err
	}
	if t.list != nil && list.Number <= t.list.Number {
		return false, nil
	}
	t.list, t.raw, t.roots = list, slices.Clone(raw), roots
	t.revoked = map[Key]Revocation{}
	for _, r := range list.Revoked {
		t.revoked[r.Key] = r
	}
	return true, nil
}

// List is the newest list, as it came, and its number; nil and 0 before the first.
func (t *Trust) List() (raw []byte, number uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.list == nil {
		return nil, 0
	}
	return t.raw, t.list.Number
}

// Revoked is whom the newest list names.
func (t *Trust) Revoked() []Revocation {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.list == nil {
		return nil
	}
	return slices.Clone(t.list.Revoked)
}

// Refuses says that the key is believed no longer.
func (t *Trust) Refuses(key Key) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, refused := t.revoked[key]
	return refused
}

// Believes says whether ca is the key of a CA whose certificates are believed.
func (t *Trust) Believes(ca Key) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.ContainsFunc(t.roots, func(c *x509.Certificate) bool { return fingerprint(c) == ca })
}

// Signer is the CA that signs new certificates: a node whose own is of another renews soon.
func (t *Trust) Signer() Key {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return fingerprint(t.roots[0])
}

// pool is what chains are held against.
func (t *Trust) pool() *x509.CertPool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	pool := x509.NewCertPool()
	for _, c := range t.roots {
		pool.AddCert(c)
	}
	return pool
}

// Away tells how to find out that no Proxy can be reached: only then is grace given. It is set before use.
func (t *Trust) Away(f func() bool) { t.away = f }

// Members makes this the trust of a Proxy, which believes the hosts in its register also when their certificates have ended:
// it renews them. The error says why a key is not the host's. It is set before use.
func (t *Trust) Members(f func(name string, key Key) (known bool, err error)) { t.member = f }

// OnPin has f called with all pins whenever one is added or taken away. It is set before use.
func (t *Trust) OnPin(f func(map[string]Key)) { t.onPin = f }

// OnWrong has f called when a node shows another key than it had, once for each such key. It is set before use.
func (t *Trust) OnWrong(f func(PinError)) { t.onWrong = f }

// Strict has a revocation make no room for another key: who signs revocations could put one in the place of a host's. Only
// the user does then, by Forget. It is set before use.
func (t *Trust) Strict() { t.strict = true }

// Replaced are the nodes that showed another key after their first was revoked, since this node started, by name.
func (t *Trust) Replaced() []PinError {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []PinError
	for _, name := range slices.Sorted(maps.Keys(t.fresh)) {
		out = append(out, t.fresh[name])
	}
	return out
}

// Suspects are the nodes that showed another key than they had, and of which nobody has said that it is right, by name.
func (t *Trust) Suspects() []PinError {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []PinError
	for _, name := range slices.Sorted(maps.Keys(t.suspect)) {
		if wrong := t.suspect[name]; t.pins[name] == wrong.Known {
			out = append(out, wrong)
		}
	}
	return out
}

// Pins are the keys seen under each name.
func (t *Trust) Pins() map[string]Key {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.pins)
}

// RestorePins takes what was remembered before a restart.
func (t *Trust) RestorePins(pins map[string]Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.pins, pins)
}

// Forget lets the next key seen under name be the one to remember; false when none was remembered.
func (t *Trust) Forget(name string) bool {
	t.mu.Lock()
	_, known := t.pins[name]
	delete(t.pins, name)
	delete(t.suspect, name)
	delete(t.fresh, name)
	t.mu.Unlock()
	if known && t.onPin != nil {
		t.onPin(t.Pins())
	}
	return known
}

// pin remembers the first key seen under a name and refuses any other. A key that was revoked makes room for a new one: who
// revoked it wanted the name's old holder gone.
func (t *Trust) pin(name string, key Key) error {
	t.mu.Lock()
	old, known := t.pins[name]
	_, gone := t.revoked[old]
	switch {
	case known && old == key:
		t.mu.Unlock()
		return nil
	case known && (!gone || t.strict):
		wrong := PinError{Name: name, Known: old, Shown: key}
		seen := t.suspect[name] == wrong
		t.suspect[name] = wrong
		t.mu.Unlock()
		if !seen && t.onWrong != nil {
			t.onWrong(wrong)
		}
		return &wrong
	case !known && len(t.pins) >= maxPins:
		t.mu.Unlock()
		return fmt.Errorf("cannot remember the key of %s: %d are remembered already", name, maxPins)
	}
	t.pins[name] = key
	if known {
		t.fresh[name] = PinError{Name: name, Known: old, Shown: key}
	}
	t.mu.Unlock()
	if t.onPin != nil {
		t.onPin(t.Pins())
	}
	return nil
}

// PinError says that a node shows another key than it had at first sight.
type PinError struct {
	Name         string
	Known, Shown Key
}

func (e *PinError) Error() string {
	return fmt.Sprintf("cannot believe that this is %s: its key is %v and was %v; if the machine was set up anew, say so here with: vnet nodes forget-key %s", e.Name, e.Shown, e.Known, e.Name)
}

// Graced are the peers that were accepted although their certificate has ended, with when it did.
func (t *Trust) Graced() map[string]time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return maps.Clone(t.graced)
}

func (t *Trust) grace(name string, end time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end.IsZero() {
		delete(t.graced, name)
		return
	}
	t.graced[name] = end
}

// knew says whether the key was seen under the name before.
func (t *Trust) knew(name string, key Key) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pins[name] == key
}
