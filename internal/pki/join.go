package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// maxJoin bounds either message of an enrolment in bytes: a request or two certificates take about 2 kB.
const maxJoin = 16 << 10

// joinVersion is what a machine says it can do: 1 renews certificates by itself. 0.1.0 says nothing.
const joinVersion = 1

// joinRequest is what the machine sends once it knows the Proxy by the fingerprint in its token. One without a token asks for
// the time only.
type joinRequest struct {
	Overlay string `json:"overlay"`
	TokenID string `json:"token_id"`
	Secret  []byte `json:"secret"`
	Name    string `json:"name"`
	CSR     []byte `json:"csr"`
	Version int    `json:"version,omitempty"`
}

// joinReply is the Proxy's answer: certificates, or that somebody must approve first, or why not.
type joinReply struct {
	Cert    []byte    `json:"cert,omitempty"`
	CA      []byte    `json:"ca,omitempty"`
	Waiting bool      `json:"waiting,omitempty"`
	Now     time.Time `json:"now,omitzero"` // the Proxy's clock
	Error   string    `json:"error,omitempty"`
}

// ErrWaiting says that the Proxy has taken the request down and that a person has to approve it there; the same request
// asks again.
var ErrWaiting = errors.New("somebody has to approve this machine at the Proxy")

// ErrRefused wraps what the Proxy answered to a request it did not grant; trying its other addresses is no use.
var ErrRefused = errors.New("the Proxy refused")

// ErrOtherCA says that who answered has no certificate of the authority that the token names: another Proxy, or that of the
// overlay after its authority was replaced.
var ErrOtherCA = errors.New("cannot join: the Proxy at this address is not the one the token was made by (other CA key)")

// JoinClientTLS dials a Proxy known only by the fingerprint of its CA's key. No other certificate gets past the handshake,
// so the secret of the token is never shown to anyone else. now is nil for time.Now.
func JoinClientTLS(t Token, now func() time.Time) *tls.Config {
	if now == nil {
		now = time.Now
	}
	return joinTLS(t, func(leaf *x509.Certificate) error { return checkDates(leaf, now()) })
}

// ClockTLS is JoinClientTLS for AskTime: it minds no dates, because one of the clocks may be wrong.
func ClockTLS(t Token) *tls.Config {
	return joinTLS(t, func(*x509.Certificate) error { return nil })
}

func joinTLS(t Token, dates func(*x509.Certificate) error) *tls.Config {
	return &tls.Config{
		NextProtos:         []string{ALPNJoin},
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		InsecureSkipVerify: true, // the CA is not known yet; VerifyConnection finds it by its fingerprint
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != ALPNJoin {
				return errors.New("cannot join: what answers at this address is no vnet Proxy")
			}
			if err := verifyPinned(cs.PeerCertificates, t); err != nil {
				return err
			}
			return dates(cs.PeerCertificates[0])
		},
	}
}

// verifyPinned checks that a chain holds the pinned CA, and that the leaf is the Proxy of its overlay.
func verifyPinned(chain []*x509.Certificate, t Token) error {
	i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c.IsCA && fingerprint(c) == t.CA })
	if i < 1 { // the leaf itself is no CA
		return ErrOtherCA
	}
	roots := x509.NewCertPool()
	roots.AddCert(chain[i])
	if err := checkChain(chain[0], roots, chain[0].NotBefore); err != nil {
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

// AskTime asks over conn, set up with ClockTLS, what the Proxy's clock says and, if the token has a secret, whether it would
// let a machine in under the name: refused is empty if so.
func AskTime(conn io.ReadWriter, t Token, name string) (now time.Time, refused string, err error) {
	var reply joinReply
	ask := joinRequest{Overlay: t.Overlay}
	if len(t.Secret) > 0 {
		ask.TokenID, ask.Secret, ask.Name = t.ID, t.Secret, name
	}
	err = writeMessage(conn, ask)
	if err == nil {
		err = readMessage(conn, &reply)
	}
	if err == nil && reply.Now.IsZero() {
		err = errors.New("it is of version 0.1.0, which does not tell")
	}
	if err != nil {
		return time.Time{}, "", fmt.Errorf("cannot ask the Proxy for the time: %w", err)
	}
	return reply.Now, reply.Error, nil
}

// Applicant is a machine that wants to join: the name it wants and the key it has made, which never leaves it.
type Applicant struct {
	Name string
	key  *ecdsa.PrivateKey
}

// NewApplicant makes the key.
func NewApplicant(name string) (*Applicant, error) {
	key, _, err := NewKeyAndCSR(name)
	if err != nil {
		return nil, err
	}
	return &Applicant{Name: name, key: key}, nil
}

// applicantFile holds the key between the request and the answer, so that the same machine can ask again when the answer was
// lost, or somebody has to approve it first.
const applicantFile = "joining.pem"

// LoadApplicant is the applicant that dir holds, or a new one.
func LoadApplicant(dir, name string) (*Applicant, error) {
	b, err := readBundle(filepath.Join(dir, applicantFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NewApplicant(name)
	case err != nil:
		return nil, err
	case b.key == nil:
		return nil, fmt.Errorf("cannot go on joining: %s holds no key; remove it", filepath.Join(dir, applicantFile))
	}
	return &Applicant{Name: name, key: b.key}, nil
}

// Save keeps the key in dir, readable by its owner only.
func (a *Applicant) Save(dir string) error {
	text, err := bundle{key: a.key}.encode()
	if err == nil {
		err = writeSecret(filepath.Join(dir, applicantFile), text)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the key: %w", err)
	}
	return nil
}

// ForgetApplicant removes what Save wrote, once the identity is saved.
func ForgetApplicant(dir string) error {
	if err := os.Remove(filepath.Join(dir, applicantFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot tidy up after joining: %w", err)
	}
	return nil
}

// Key is the fingerprint of the key, for who approves it.
func (a *Applicant) Key() (Key, error) { return keyOf(&a.key.PublicKey) }

// Request asks over conn, which was set up with JoinClientTLS, for a certificate. The caller sets the deadline of conn. The
// error wraps ErrWaiting or ErrRefused when the Proxy said so.
func (a *Applicant) Request(conn io.ReadWriter, t Token) (*Identity, error) {
	csr, err := requestFor(a.key, a.Name)
	if err != nil {
		return nil, err
	}
	err = writeMessage(conn, joinRequest{Overlay: t.Overlay, TokenID: t.ID, Secret: t.Secret, Name: a.Name, CSR: csr, Version: joinVersion})
	if err != nil {
		return nil, fmt.Errorf("cannot ask the Proxy to join: %w", err)
	}
	var reply joinReply
	if err := readMessage(conn, &reply); err != nil {
		return nil, fmt.Errorf("cannot read the Proxy's answer: %w", err)
	}
	switch {
	case reply.Error != "":
		return nil, fmt.Errorf("cannot join: %w: %s", ErrRefused, reply.Error)
	case reply.Waiting:
		return nil, ErrWaiting
	}
	id, err := NewIdentity(a.key, reply.Cert, reply.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot use the Proxy's answer: %w", err)
	}
	if id.CA != t.CA || id.Overlay != t.Overlay || id.Name != a.Name {
		return nil, fmt.Errorf("cannot use the Proxy's answer: it names %q of overlay %q under another CA than the token's", id.Name, id.Overlay)
	}
	return id, nil
}

// RequestJoin is Request with a key made here.
func RequestJoin(conn io.ReadWriter, t Token, name string) (*Identity, error) {
	a, err := NewApplicant(name)
	if err != nil {
		return nil, err
	}
	return a.Request(conn, t)
}

// Gate is what the Proxy decides an enrolment by.
type Gate struct {
	CA *CA
	// Admit uses up the token and registers the node, and may refuse. Only an error that wraps ErrToken or ErrName is told
	// to the stranger.
	Admit func(Application) (Member, error)
	// Check says whether Admit would refuse the token or the name, and uses nothing up; nil answers no such questions.
	Check func(Application) error
	// Time is the clock of the certificates; nil means time.Now.
	Time func() time.Time
}

// Application is a machine's request to become a node, after its key was proved.
type Application struct {
	TokenID string
	Secret  []byte
	Name    string
	Key     Key
}

// ErrName is wrapped by a Gate's Admit that refuses a name; the stranger sees the whole text.
var ErrName = errors.New("the name cannot be given")

// errClock says that the stranger wanted the time only.
var errClock = errors.New("the machine asked for the time")

// AskedTime says that an enrolment failed because the machine wanted to know the time, and nothing else.
func AskedTime(err error) bool { return errors.Is(err, errClock) }

// AnswerJoin serves one enrolment over conn, a connection that ServerTLS let in under ALPNJoin. It returns the member that
// joined, or waits to be approved. The caller sets the deadline of conn and closes it.
func AnswerJoin(conn io.ReadWriter, g Gate) (Member, error) {
	if g.Time == nil {
		g.Time = time.Now
	}
	var req joinRequest
	if err := readMessage(conn, &req); err != nil {
		return Member{}, fmt.Errorf("cannot read the join request: %w", err)
	}
	if len(req.CSR) == 0 { // a question
		told := ""
		if g.Check != nil && req.TokenID != "" {
			told = tell(g.Check(Application{TokenID: req.TokenID, Secret: req.Secret, Name: req.Name}))
		}
		return Member{}, errors.Join(errClock, writeMessage(conn, joinReply{Now: g.Time(), Error: told}))
	}
	member, cert, err := g.grant(req)
	if err != nil {
		return member, errors.Join(fmt.Errorf("cannot let %q join: %w", req.Name, err), writeMessage(conn, joinReply{Error: tell(err), Now: g.Time()}))
	}
	reply := joinReply{Cert: cert, CA: g.CA.Certificate(), Now: g.Time()}
	if member.Waiting {
		reply = joinReply{Waiting: true, Now: g.Time()}
		if req.Version == 0 { // 0.1.0 does not know of waiting
			reply = joinReply{Error: ErrWaiting.Error() + "; then ask again with the same token"}
		}
	}
	if err := writeMessage(conn, reply); err != nil {
		return member, fmt.Errorf("cannot answer the join request of %q: %w", req.Name, err)
	}
	return member, nil
}

// tell is what a stranger may hear of an error.
func tell(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrToken):
		return ErrToken.Error()
	case errors.Is(err, ErrName):
		return err.Error()
	}
	return "the Proxy could not grant the request; its log says why"
}

// grant checks everything that can be wrong with the request itself before it uses the token up.
func (g Gate) grant(req joinRequest) (Member, []byte, error) {
	if err := overlay.ValidName(req.Name); err != nil {
		return Member{}, nil, fmt.Errorf("%w: %w", ErrName, err)
	}
	if req.Overlay != g.CA.overlay {
		return Member{}, nil, fmt.Errorf("%w: it is for overlay %q", ErrToken, req.Overlay)
	}
	key, err := keyOfRequest(req.CSR)
	if err != nil {
		return Member{}, nil, err
	}
	m, err := g.Admit(Application{TokenID: req.TokenID, Secret: req.Secret, Name: req.Name, Key: key})
	if err != nil || m.Waiting {
		return m, nil, err
	}
	life := LeafLife
	if req.Version == 0 {
		life = StaleLife
	}
	cert, err := g.CA.Sign(req.CSR, req.Name, RoleHost, g.Time(), life)
	return m, cert, err
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
