package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// maxList bounds a signed list in bytes: room for about 3,000 revocations in the week that one is kept, and below what
	// a control message may have.
	maxList = 512 << 10
	// maxRoots is how many CAs may be believed at a time: the present one and the one it replaces.
	maxRoots = 2
	// listLabel keeps a signature on a list from meaning anything elsewhere.
	listLabel = "vnet/1 trust list\x00"
)

// List is what the Proxy tells everybody about trust, signed by a CA: which CAs are believed, and which keys are not. Any
// node may pass it on, since nobody but the CA can make one. Of two the one with the higher number holds.
type List struct {
	Overlay string       `json:"overlay"`
	Number  uint64       `json:"number"`
	Made    time.Time    `json:"made"`
	Roots   [][]byte     `json:"roots"` // certificates in DER; the first signs new ones
	Revoked []Revocation `json:"revoked,omitempty"`
}

// Revocation is a key that is believed no longer, whatever certificate it shows.
type Revocation struct {
	Name string    `json:"name"`
	Key  Key       `json:"key"`
	When time.Time `json:"when"`
}

// RevocationKept is how long a revocation must stay in the list: until every certificate the key ever had is beyond grace.
const RevocationKept = StaleLife + Grace + 2*ClockSkew

// signedList is a list as it travels and lies on disk.
type signedList struct {
	List       []byte          `json:"list"` // JSON of List: what is signed
	Signatures []listSignature `json:"signatures"`
}

type listSignature struct {
	CA  Key    `json:"ca"`
	Sig []byte `json:"sig"` // ECDSA, ASN.1, over SHA-256 of the label and the list
}

func listDigest(body []byte) []byte {
	h := sha256.New()
	h.Write([]byte(listLabel))
	h.Write(body)
	return h.Sum(nil)
}

// SignList signs the list with each CA given: while one replaces another both do, so that a node that knows either takes it.
func SignList(list List, by ...*CA) ([]byte, error) {
	body, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the list of trust: %w", err)
	}
	out := signedList{List: body}
	for _, ca := range by {
		sig, err := ecdsa.SignASN1(rand.Reader, ca.key, listDigest(body))
		if err != nil {
			return nil, fmt.Errorf("cannot sign the list of trust: %w", err)
		}
		out.Signatures = append(out.Signatures, listSignature{CA: ca.Fingerprint(), Sig: sig})
	}
	raw, err := json.Marshal(out)
	if err == nil && len(raw) > maxList {
		err = fmt.Errorf("cannot sign the list of trust: it has %d bytes, %d are allowed; give the overlay a new CA (vnet ca rotate) instead of revoking so many", len(raw), maxList)
	}
	return raw, err
}

// openList reads a list that one of the believed CAs has signed, and the certificates in it.
func openList(raw []byte, overlay string, believed []*x509.Certificate) (*List, []*x509.Certificate, error) {
	if len(raw) > maxList {
		return nil, nil, fmt.Errorf("cannot read a list of trust of %d bytes", len(raw))
	}
	var in signedList
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, nil, fmt.Errorf("cannot read the list of trust: %w", err)
	}
	if !in.signedBy(believed) {
		return nil, nil, errors.New("cannot believe the list of trust: no CA that this node knows has signed it")
	}
	var list List
	if err := json.Unmarshal(in.List, &list); err != nil {
		return nil, nil, fmt.Errorf("cannot read the list of trust: %w", err)
	}
	if list.Overlay != overlay {
		return nil, nil, fmt.Errorf("cannot use the list of trust: it is of overlay %q", list.Overlay)
	}
	if len(list.Roots) == 0 || len(list.Roots) > maxRoots {
		return nil, nil, fmt.Errorf("cannot use the list of trust: it names %d CAs", len(list.Roots))
	}
	var roots []*x509.Certificate
	for _, der := range list.Roots {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read a CA in the list of trust: %w", err)
		}
		if !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Host != overlay {
			return nil, nil, errors.New("cannot use the list of trust: it names a CA that is none of this overlay")
		}
		roots = append(roots, cert)
	}
	return &list, roots, nil
}

func (in signedList) signedBy(believed []*x509.Certificate) bool {
	for _, s := range in.Signatures[:min(len(in.Signatures), maxRoots)] {
		for _, ca := range believed {
			pub, ok := ca.PublicKey.(*ecdsa.PublicKey)
			if ok && fingerprint(ca) == s.CA && ecdsa.VerifyASN1(pub, listDigest(in.List), s.Sig) {
				return true
			}
		}
	}
	return false
}
