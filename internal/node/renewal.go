package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

const (
	// MethodRenew asks the Proxy for a new certificate for the key that the node
	// has; the body is a PKCS #10 request, the answer's a Certificate in JSON.
	MethodRenew = "Renew"
	// renewEvery is how often a renewal that failed is tried again.
	renewEvery = time.Minute
	// renewLook is how often the clock is looked at.
	renewLook = 10 * time.Second
	// renewSpread is over how much of its life the nodes' renewals are spread, so
	// that those that joined together do not come together: a twentieth.
	renewSpread = 20
	// renewTime bounds one renewal.
	renewTime = 10 * time.Second
)

// Certificate is the answer to MethodRenew, both in DER.
type Certificate struct {
	Cert []byte `json:"cert"`
	CA   []byte `json:"ca"`
}

// renewal keeps the node's certificate fresh. The loop owns it.
type renewal struct {
	lookAt  time.Time
	tryAt   time.Time
	trying  bool
	lastErr string
}

// tick asks for a new certificate when it is time: at two thirds of the life of
// the old one, or soon when a new CA signs, or when the old one is of a day that
// has not come: the Proxy's clock was wrong.
func (r *renewal) tick(now time.Time, s *state) {
	if now.Before(r.lookAt) {
		return
	}
	r.lookAt = now.Add(renewLook)
	id := s.n.Identity()
	wall := s.n.Wall()
	s.warnOfEnd(wall, id, r.lastErr)
	if s.n.isProxy() || r.trying || now.Before(r.tryAt) || s.n.starLink() == nil {
		return // the Proxy renews its own
	}
	if due := dueAt(id); wall.Before(due) && !id.Early(wall) && id.CA == s.n.trust.Signer() {
		return
	}
	r.trying, r.tryAt = true, now.Add(renewEvery)
	s.n.keepers.Add(1)
	go func() {
		defer s.n.keepers.Done()
		err := s.n.renew(s.n.ctx, id)
		s.n.do(func(s *state) { s.renewal.done(s, err) })
	}()
}

// done takes down how a renewal went.
func (r *renewal) done(s *state, err error) {
	r.trying, r.lastErr, r.lookAt = false, "", time.Time{}
	if err != nil {
		r.lastErr = err.Error()
		s.n.cfg.Log.Warn("certificate not renewed", "error", err)
		return
	}
	s.n.event(Event{Kind: "certificate.renewed", Text: fmt.Sprintf("certificate is good until %s", s.n.Identity().Expires().UTC().Format(time.RFC3339))})
}

// dueAt is when this node renews: by its name a little after two thirds.
func dueAt(id *pki.Identity) time.Time {
	at, end := id.RenewAt(), id.Expires()
	h := fnv.New32a()
	h.Write([]byte(id.Name))
	life := 3 * end.Sub(at)
	return at.Add(life / renewSpread * time.Duration(h.Sum32()%256) / 256)
}

// renew fetches a new certificate and puts it to use.
func (n *Node) renew(ctx context.Context, id *pki.Identity) error {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	csr, err := id.Request()
	if err != nil {
		return err
	}
	a, err := n.Call(ctx, "", MethodRenew, csr)
	if err != nil {
		return err
	}
	if a.Code != "" {
		return errors.New(a.Error)
	}
	var got Certificate
	if err := json.Unmarshal(a.Body, &got); err != nil {
		return fmt.Errorf("cannot read the Proxy's answer: %w", err)
	}
	fresh, err := id.Renewed(got.Cert, got.CA)
	if err != nil {
		return err
	}
	n.Renew(fresh)
	if n.cfg.Renewed != nil {
		return n.cfg.Renewed(fresh)
	}
	return nil
}

// warnOfEnd says long before what will happen when nothing is done: from when a
// renewal is overdue, which leaves about a third of the certificate's life.
func (s *state) warnOfEnd(now time.Time, id *pki.Identity, lastErr string) {
	delete(s.warning, "certificate")
	left := id.Expires().Sub(now)
	if now.Before(dueAt(id).Add(3 * renewEvery)) {
		return
	}
	why := "the Proxy cannot be reached to renew it"
	if lastErr != "" {
		why = lastErr
	}
	text := fmt.Sprintf("certificate ends in %v and was not renewed: %s", left.Round(time.Minute), why)
	if left < 0 {
		text = fmt.Sprintf("certificate ended %v ago: %s; nodes that knew this one go on accepting it for %v after its end while no Proxy can be reached", -left.Round(time.Minute), why, pki.Grace)
	}
	s.warning["certificate"] = text
}

// trustWarnings are what status says of other nodes' certificates.
func (n *Node) trustWarnings(now time.Time) (list []string) {
	for name, end := range n.trust.Graced() {
		list = append(list, fmt.Sprintf("%s shows a certificate that ended %v ago; it is accepted because no Proxy can be reached to renew it, until %s",
			name, now.Sub(end).Round(time.Minute), end.Add(pki.Grace).UTC().Format(time.RFC3339)))
	}
	for _, e := range n.trust.Suspects() {
		list = append(list, wrongKey(e))
	}
	for _, e := range n.trust.Replaced() {
		list = append(list, fmt.Sprintf("%s has the key %v now; the one it had, %v, was revoked: compare with `vnet nodes fingerprint` there; this remark ends with a restart, or `vnet nodes forget-key %s`", e.Name, e.Shown, e.Known, e.Name))
	}
	return list
}
