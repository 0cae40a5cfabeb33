package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	vnetv1 "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/control"
	"github.com/virtuoso-vnet/virtuoso/internal/node"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// tellTime is how long a node that is connected gets to store a list of trust.
	tellTime = 5 * time.Second
	// Overlap is how long the old CA is believed beside the new one: as long as a
	// node may be away and still be accepted by its peers.
	Overlap = pki.Grace
	// lookAtKeys is how often the Proxy looks whether its own certificate, or an
	// old CA, has come to its end.
	lookAtKeys = time.Minute
)

// Vault keeps the Proxy's keys: a directory that nobody else may read.
type Vault interface {
	// SaveCA replaces both authorities; old is nil when there is none any more.
	SaveCA(ca, old *pki.CA) error
	SaveIdentity(id *pki.Identity) error
}

// authority is the overlay's CA, and while it is being replaced the old one.
type authority struct {
	mu  sync.Mutex // guards the following; held over a whole publication, so that lists come in order
	ca  *pki.CA
	old *pki.CA // nil when no rotation is under way

	names sync.RWMutex // guards signer and joining, which handshakes need
	now   *pki.CA      // signs hosts' certificates
	join  *pki.CA      // is in tokens and signs the Proxy's own: the old one while there is one
}

func newAuthority(ca, old *pki.CA) *authority {
	a := &authority{}
	a.set(ca, old)
	return a
}

// set is called with mu held.
func (a *authority) set(ca, old *pki.CA) {
	a.ca, a.old = ca, old
	a.names.Lock()
	defer a.names.Unlock()
	if a.now, a.join = ca, ca; old != nil {
		a.join = old
	}
}

// signingCA signs the certificates of hosts that know the newest list.
func (a *authority) signingCA() *pki.CA {
	a.names.RLock()
	defer a.names.RUnlock()
	return a.now
}

// joiningCA is the one that machines which know nothing yet, or have been away,
// know the Proxy by.
func (a *authority) joiningCA() *pki.CA {
	a.names.RLock()
	defer a.names.RUnlock()
	return a.join
}

// told is who has stored a list, and who has not, with why.
type told struct {
	stored []string
	missed []*vnetv1.NotTold
}

// publish changes the list of trust, stores it, obeys it, and tells every node;
// it returns when each that is connected has stored it or had its time.
func (p *Proxy) publish(ctx context.Context, edit func(*pki.List)) (told, error) {
	if err := p.newList(ctx, edit); err != nil {
		return told{}, err
	}
	return p.tellTrust(ctx)
}

// newList makes the next list and puts it into force here.
func (p *Proxy) newList(ctx context.Context, edit func(*pki.List)) error {
	p.authority.mu.Lock()
	defer p.authority.mu.Unlock()
	return p.newListLocked(edit)
}

// newListLocked is newList with the authority's mu held.
func (p *Proxy) newListLocked(edit func(*pki.List)) error {
	a, now := p.authority, p.node.Wall()
	_, number := p.node.Trust().List()
	list := pki.List{Overlay: a.ca.Overlay(), Number: number + 1, Made: now.UTC(), Roots: [][]byte{a.ca.Certificate()}}
	signers := []*pki.CA{a.ca}
	if a.old != nil {
		list.Roots = append(list.Roots, a.old.Certificate())
		signers = append(signers, a.old)
	}
	for _, r := range p.node.Trust().Revoked() {
		if now.Sub(r.When) < pki.RevocationKept {
			list.Revoked = append(list.Revoked, r)
		}
	}
	edit(&list)
	raw, err := pki.SignList(list, signers...)
	if err != nil {
		return err
	}
	return p.node.Take(raw)
}

// tellTrust brings the present list to every node that is connected, at once.
func (p *Proxy) tellTrust(ctx context.Context) (told, error) {
	var here, away []overlay.Name
	var old []string
	err := p.ask(ctx, func(h *hub) {
		for _, name := range h.record.Names() {
			switch at, ok := h.hosts[name]; {
			case name == h.record.Proxy:
			case !ok || at.session == nil:
				away = append(away, name)
			case at.hello.Trust == 0:
				old = append(old, string(name))
			default:
				here = append(here, name)
			}
		}
	})
	if err != nil {
		return told{}, err
	}
	raw, number := p.node.Trust().List()
	var mu sync.Mutex // guards out
	var out told
	miss := func(name, why string) {
		mu.Lock()
		defer mu.Unlock()
		out.missed = append(out.missed, &vnetv1.NotTold{Node: name, Why: why})
	}
	for _, name := range away {
		miss(string(name), "it is away; it learns when it meets any node")
	}
	for _, name := range old {
		miss(name, "it runs a version that knows of no revocation; upgrade it")
	}
	var all sync.WaitGroup
	for _, name := range here {
		all.Go(func() {
			if err := p.bringTrust(ctx, name, raw, number); err != nil {
				miss(string(name), err.Error())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out.stored = append(out.stored, string(name))
		})
	}
	all.Wait()
	slices.Sort(out.stored)
	slices.SortFunc(out.missed, func(a, b *vnetv1.NotTold) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	return out, nil
}

// bringTrust has one node store a list; it returns once it is on that node's disk.
func (p *Proxy) bringTrust(ctx context.Context, name overlay.Name, raw []byte, number uint64) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	a, err := p.node.Call(ctx, name, node.MethodTrust, raw)
	switch {
	case err != nil:
		return err
	case a.Code != "":
		return errors.New(a.Error)
	}
	var has uint64
	if _, err := fmt.Sscan(string(a.Body), &has); err != nil || has < number {
		return fmt.Errorf("cannot tell whether it stored list %d: it says %q", number, a.Body)
	}
	if has > number {
		p.compareTrust(name, has+1)
		return fmt.Errorf("it knows a newer list of revoked keys than this Proxy, which was perhaps restored from a backup and takes that over now; do this again")
	}
	return nil
}

// compareTrust gives a host that has just come a list it lacks, and takes from
// it one that this Proxy lacks: it may have been restored from a backup.
func (p *Proxy) compareTrust(peer overlay.Name, has uint64) {
	raw, number := p.node.Trust().List()
	if has == 0 || has == number+1 {
		return
	}
	p.tasks.Go(func() {
		if has < number+1 {
			if err := p.bringTrust(p.ctx, peer, raw, number); err != nil {
				p.cfg.Log.Warn("list of trust not brought", "to", peer, "error", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(p.ctx, tellTime)
		defer cancel()
		if a, err := p.node.Call(ctx, peer, node.MethodTrust, nil); err == nil && a.Code == "" {
			if err := p.node.Take(a.Body); err == nil {
				p.event("trust", fmt.Sprintf("%s knew a newer list of revoked keys than this Proxy, which takes it over", peer), nil)
			}
		}
	})
}

// revoke puts keys out for ever.
func (p *Proxy) revoke(ctx context.Context, keys ...pki.Revocation) (told, error) {
	return p.publish(ctx, func(l *pki.List) {
		for _, r := range keys {
			r.When = p.node.Wall().UTC()
			if !slices.ContainsFunc(l.Revoked, func(o pki.Revocation) bool { return o.Key == r.Key }) {
				l.Revoked = append(l.Revoked, r)
			}
		}
	})
}

// RevokeNode puts a node out for ever. It answers when every connected node has stored it.
func (p *Proxy) RevokeNode(ctx context.Context, req *vnetv1.RevokeNodeRequest) (*vnetv1.RevokeNodeResponse, error) {
	name := overlay.Name(req.GetName())
	if name == p.node.Name() {
		return nil, precondition("cannot revoke %s: it is the Proxy itself, which signs the list; a Proxy that fell into other hands needs a new overlay", name)
	}
	key, err := p.keyOf(ctx, name)
	if err != nil {
		return nil, err
	}
	out := &vnetv1.RevokeNodeResponse{Key: key.String()}
	done, err := p.revoke(ctx, pki.Revocation{Name: string(name), Key: key})
	if err != nil {
		return nil, err
	}
	if _, err := p.ledger().Remove(string(name)); err != nil && !errors.Is(err, pki.ErrNoMember) {
		return nil, err
	}
	p.event("node.revoked", fmt.Sprintf("%s is put out; its key was %v", name, key), map[string]string{"node": string(name)})
	if err := p.expel(ctx, name); err != nil {
		p.event("warning", fmt.Sprintf("%s is put out, but what names it is still in the overlay: %v", name, err), nil)
	}
	for _, m := range done.missed {
		if m.GetNode() != string(name) {
			out.NotTold = append(out.NotTold, m)
		}
	}
	out.Stored = slices.DeleteFunc(done.stored, func(n string) bool { return n == string(name) })
	return out, nil
}

// keyOf is the key a node is registered with, or shows now.
func (p *Proxy) keyOf(ctx context.Context, name overlay.Name) (pki.Key, error) {
	m, known, err := p.ledger().Member(string(name))
	if err != nil || known && m.Key != (pki.Key{}) {
		return m.Key, err
	}
	var key pki.Key
	err = p.ask(ctx, func(h *hub) {
		if at, ok := h.hosts[name]; ok && at.session != nil {
			key = at.session.Key()
		}
	})
	if err == nil && key == (pki.Key{}) {
		err = notFound("cannot revoke %q: no node of this name has joined; `vnet nodes fingerprint` lists them", name)
	}
	return key, err
}

// goodbye is how long the answer to a host that leaves gets to reach it.
const goodbye = 250 * time.Millisecond

// left takes out a host that said that it leaves.
func (p *Proxy) left(name overlay.Name) {
	select {
	case <-time.After(goodbye):
	case <-p.ctx.Done():
		return
	}
	if _, err := p.RevokeNode(p.ctx, &vnetv1.RevokeNodeRequest{Name: string(name)}); err != nil {
		p.event("warning", fmt.Sprintf("%s has left, but could not be put out: %v", name, err), nil)
	}
}

// Leave is refused: the Proxy is the overlay.
func (p *Proxy) Leave(context.Context, *vnetv1.LeaveRequest) (*vnetv1.LeaveResponse, error) {
	return nil, precondition("cannot leave: this is the Proxy, without which there is no overlay; to end it, stop the daemons and remove their state directories")
}

// certify answers a host that wants its certificate renewed.
func (p *Proxy) certify(from overlay.Name, csr []byte) control.Answer {
	refuse := func(err error) control.Answer {
		p.cfg.Log.Warn("certificate not renewed", "node", from, "error", err)
		return control.Answer{Code: "failed_precondition", Error: err.Error()}
	}
	ca, now := p.authority.signingCA(), p.node.Wall()
	key, cert, err := ca.Renew(csr, string(from), now)
	if err != nil {
		return refuse(err)
	}
	if p.node.Trust().Refuses(key) {
		return refuse(fmt.Errorf("cannot renew the certificate of %s: its key was revoked", from))
	}
	if err := p.ledger().Seen(now, string(from), key, now.Add(pki.LeafLife)); err != nil {
		return refuse(err)
	}
	body, err := json.Marshal(node.Certificate{Cert: cert, CA: ca.Certificate()})
	if err != nil {
		return refuse(err)
	}
	return control.Answer{Body: body}
}

// RotateCA replaces the authority: both are believed until every node has a
// certificate of the new one, or Overlap is over.
func (p *Proxy) RotateCA(ctx context.Context, req *vnetv1.RotateCARequest) (*vnetv1.RotateCAResponse, error) {
	a := p.authority
	if req.GetFinish() {
		if err := p.finishRotation(ctx); err != nil {
			return nil, err
		}
	} else if err := p.beginRotation(ctx, req.GetForce()); err != nil {
		return nil, err
	}
	done, err := p.tellTrust(ctx)
	if err != nil {
		return nil, err
	}
	out := &vnetv1.RotateCAResponse{Ca: a.signingCA().Fingerprint().String(), Stored: done.stored, NotTold: done.missed}
	if old := a.joiningCA(); old != a.signingCA() {
		out.OldCa, out.OldEnds = old.Fingerprint().String(), timestamppb.New(a.signingCA().Made().Add(Overlap))
	}
	return out, nil
}

func (p *Proxy) beginRotation(ctx context.Context, force bool) error {
	var late []string
	err := p.ask(ctx, func(h *hub) {
		for _, name := range h.record.Names() {
			if at, ok := h.hosts[name]; name != h.record.Proxy && (!ok || at.session == nil || at.hello.Trust == 0) {
				late = append(late, string(name))
			}
		}
	})
	if err != nil {
		return err
	}
	if len(late) > 0 && !force {
		return precondition("cannot replace the certificate authority now: %s is away, or too old to be told; wait, or put up with letting it join again if it does not come back within %v: --force", strings.Join(late, ", "), Overlap)
	}
	p.authority.mu.Lock()
	defer p.authority.mu.Unlock()
	if p.authority.old != nil {
		return precondition("cannot replace the certificate authority again: the one before is still believed; end that with: vnet ca rotate --finish")
	}
	ca, err := pki.NewCA(p.authority.ca.Overlay(), p.node.Wall())
	if err != nil {
		return err
	}
	return p.changeCA(ca, p.authority.ca)
}

// changeCA is called with the authority's mu held: keys first, so that a list
// that names a CA is never out without it.
func (p *Proxy) changeCA(ca, old *pki.CA) error {
	if p.cfg.Vault != nil {
		if err := p.cfg.Vault.SaveCA(ca, old); err != nil {
			return err
		}
	}
	p.authority.set(ca, old)
	return p.newListLocked(func(*pki.List) {})
}

func (p *Proxy) finishRotation(ctx context.Context) error {
	p.authority.mu.Lock()
	defer p.authority.mu.Unlock()
	if p.authority.old == nil {
		return precondition("cannot end the replacement of the certificate authority: there is none under way; begin one with: vnet ca rotate")
	}
	if err := p.renewOwn(p.authority.ca); err != nil { // before the old one is believed no longer
		return err
	}
	return p.changeCA(p.authority.ca, nil)
}

// renewOwn gives the Proxy itself a fresh certificate.
func (p *Proxy) renewOwn(ca *pki.CA) error {
	id, err := ca.Reissue(p.node.Identity(), p.node.Wall(), pki.LeafLife)
	if err == nil && p.cfg.Vault != nil {
		err = p.cfg.Vault.SaveIdentity(id)
	}
	if err != nil {
		return err
	}
	p.node.Renew(id)
	return nil
}

// keepKeys renews the Proxy's own certificate, ends rotations whose time has come, and revokes what a Proxy that died has not.
func (p *Proxy) keepKeys(ctx context.Context) {
	ticker := time.NewTicker(lookAtKeys)
	defer ticker.Stop()
	for {
		if err := p.lookAtKeys(ctx, p.node.Wall()); err != nil {
			p.event("warning", fmt.Sprintf("cannot look after the Proxy's keys: %v", err), nil)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Proxy) lookAtKeys(ctx context.Context, now time.Time) error {
	p.putOut()
	if id := p.node.Identity(); now.After(id.RenewAt()) || id.Early(now) {
		if err := p.renewOwn(p.authority.joiningCA()); err != nil {
			return err
		}
	}
	if p.authority.joiningCA() != p.authority.signingCA() && now.After(p.authority.signingCA().Made().Add(Overlap)) {
		if err := p.finishRotation(ctx); err != nil {
			return err
		}
		_, err := p.tellTrust(ctx)
		return err
	}
	return nil
}
