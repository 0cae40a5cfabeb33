package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// maxJoin bounds either message of an enrolment in bytes: a request or two certificates take about 2 kB.
const maxJoin = 16 << 10

// joinRequest is what the machine sends once it knows the Proxy by the fingerprint in its token.
type joinRequest struct {
	Overlay string `json:"overlay"`
	TokenID string `json:"token_id"`
	Secret  []byte `json:"secret"`
	Name    string `json:"name"`
	CSR     []byte `json:"csr"`
}

// joinReply is the Proxy's answer: certificates, or why not.
type joinReply struct {
	Cert  []byte `json:"cert,omitempty"`
	CA    []byte `json:"ca,omitempty"`
	Error string `json:"error,omitempty"`
}

// ErrRefused wraps what the Proxy answered to a request it did not grant; trying its other addresses is no use.
var ErrRefused = errors.New("the Proxy refused")

// JoinClientTLS dials a Proxy known only by the fingerprint of its CA's key. No other certificate gets past the handshake,
// so the secret of the token is never shown to anyone else. now is nil for time.Now.
func JoinClientTLS(t Token, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	return &tls.Config{
		NextProtos:         []string{ALPNJoin},
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		Time:               now,
		InsecureSkipVerify: true, // the CA is not known yet; VerifyConnection finds it by its fingerprint
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != ALPNJoin {
				return errors.New("cannot join: what answers at this address is no vnet Proxy")
			}
			return verifyPinned(cs.PeerCertificates, t, now())
		},
	}
}

// verifyPinned checks that a chain holds the pinned CA, and that the leaf is the Proxy of its overlay.
func verifyPinned(chain []*x509.Certificate, t Token, now time.Time) error {
	i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c.IsCA && fingerprint(c) == t.CA })
	if i < 1 { // the leaf itself is no CA
		return errors.New("cannot join: the Proxy at this address is not the one the token was made by (other CA key)")
	}
	roots := x509.NewCertPool()
	roots.AddCert(chain[i])
	if err := checkChain(chain[0], x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return err
	}
	overlay, name, role, err := nameOf(chain[0])
	if err != nil {
		return err
	}
	if overlay != t.Overlay || role != RoleProxy {
		return fmt.Errorf("cannot join: %s %q of overlay %q answered, not the Proxy of %q", role, name, overlay, t.Overlay)
	}
	return nil
}

// RequestJoin asks over conn, which was set up with JoinClientTLS, for a certificate of name for a key made here. The
// caller sets the deadline of conn.
func RequestJoin(conn io.ReadWriter, t Token, name string) (*Identity, error) {
	key, csr, err := NewKeyAndCSR(name)
	if err != nil {
		return nil, err
	}
	err = writeMessage(conn, joinRequest{Overlay: t.Overlay, TokenID: t.ID, Secret: t.Secret, Name: name, CSR: csr})
	if err != nil {
		return nil, fmt.Errorf("cannot ask the Proxy to join: %w", err)
	}
	var reply joinReply
	if err := readMessage(conn, &reply); err != nil {
		return nil, fmt.Errorf("cannot read the Proxy's answer: %w", err)
	}
	if reply.Error != "" {
		return nil, fmt.Errorf("cannot join: %w: %s", ErrRefused, reply.Error)
	}
	id, err := NewIdentity(key, reply.Cert, reply.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot use the Proxy's answer: %w", err)
	}
	if id.CA != t.CA || id.Overlay != t.Overlay || id.Name != name {
		return nil, fmt.Errorf("cannot use the Proxy's answer: it names %q of overlay %q under another CA than the token's", id.Name, id.Overlay)
	}
	return id, nil
}

// Gate is what the Proxy decides an enrolment by.
type Gate struct {
	CA *CA
	// Redeem uses up the token for the node called name, and may refuse the name. Only an error that wraps ErrToken or
	// ErrName is told to the stranger.
	Redeem func(id string, secret []byte, name string) error
	// Time is the clock of the certificates; nil means time.Now.
	Time func() time.Time
}

// ErrName is wrapped by a Gate's Redeem that refuses a name; the stranger sees the whole text.
var ErrName = errors.New("the name cannot be given")

// AnswerJoin serves one enrolment over conn, a connection that ServerTLS let in under ALPNJoin. It returns the name of the
// node that joined. The caller sets the deadline of conn and closes it.
func AnswerJoin(conn io.ReadWriter, g Gate) (string, error) {
	var req joinRequest
	if err := readMessage(conn, &req); err != nil {
		return "", fmt.Errorf("cannot read the join request: %w", err)
	}
	cert, err := g.grant(req)
	if err != nil {
		told := "the Proxy could not grant the request; its log says why"
		switch {
		case errors.Is(err, ErrToken):
			told = ErrToken.Error()
		case errors.Is(err, ErrName):
			told = err.Error()
		}
		return "", errors.Join(fmt.Errorf("cannot let %q join: %w", req.Name, err), writeMessage(conn, joinReply{Error: told}))
	}
	if err := writeMessage(conn, joinReply{Cert: cert, CA: g.CA.Certificate()}); err != nil {
		return "", fmt.Errorf("cannot answer the join request of %q: %w", req.Name, err)
	}
	return req.Name, nil
}

// grant checks everything that can be wrong with the request itself before it uses the token up.
func (g Gate) grant(req joinRequest) ([]byte, error) {
	if err := overlay.ValidName(req.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrName, err)
	}
	if req.Overlay != g.CA.overlay {
		return nil, fmt.Errorf("%w: it is for overlay %q", ErrToken, req.Overlay)
	}
	if _, err := csrKey(req.CSR); err != nil {
		return nil, err
	}
	if err := g.Redeem(req.TokenID, req.Secret, req.Name); err != nil {
		return nil, err
	}
	now := time.Now
	if g.Time != nil {
		now = g.Time
	}
	return g.CA.Sign(req.CSR, req.Name, RoleHost, now(), LeafLife)
}

// writeMessage sends a four-byte big-endian length and that many bytes of JSON.
func writeMessage(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxJoin {
		return fmt.Errorf("message of %d bytes is above %d", len(body), maxJoin)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readMessage(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxJoin {
		return fmt.Errorf("message of %d bytes is above %d", n, maxJoin)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
