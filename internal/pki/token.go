package pki

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	tokenPrefix = "vnet1." // the format; a later one gets another number
	maxToken    = 4 << 10  // bytes of text: room for 16 addresses, and still fits a shell line
	maxAddrs    = 16       // addresses a machine has at which its Proxy may be reached
	idLen       = 8        // bytes: names a token in listings and logs, no secret
	secretLen   = 16       // bytes: 128 bits cannot be guessed
	maxUses     = 10_000   // machines that one token may let in
)

// Token is what an administrator carries from the Proxy to a machine that is to join: where the Proxy is, how to know it
// (the fingerprint of its CA's key), and the secret that is good for one enrolment.
type Token struct {
	Overlay string
	Addrs   []string // host:port of the Proxy, in the order to try; a host name is looked up whenever it is used
	CA      Key
	ID      string // hex; public
	Secret  []byte
	Expires time.Time // so that the machine can say itself that it is too late; zero in tokens of 0.1.0
	Uses    int       // machines it is good for; 0 in tokens of 0.1.0, which are good for one
}

// wireToken is the text's content. Field names are short because people paste it.
type wireToken struct {
	Overlay string   `json:"o"`
	Addrs   []string `json:"a"`
	CA      []byte   `json:"c"`
	ID      string   `json:"i"`
	Secret  []byte   `json:"s"`
	Expires int64    `json:"e,omitempty"` // seconds since 1970
	Uses    int      `json:"n,omitempty"`
}

// newToken draws the id and secret of a token for the overlay of.
func newToken(of string, addrs []string, ca Key) (Token, error) {
	var b [idLen + secretLen]byte
	rand.Read(b[:]) // never fails since Go 1.24
	t := Token{Overlay: of, Addrs: addrs, CA: ca, ID: hex.EncodeToString(b[:idLen]), Secret: b[idLen:], Uses: 1}
	return t, t.check()
}

// Expired says that the token is too old by the clock now, give or take what clocks differ.
func (t Token) Expired(now time.Time) bool {
	return !t.Expires.IsZero() && now.After(t.Expires.Add(ClockSkew))
}

func (t Token) wire() wireToken {
	w := wireToken{Overlay: t.Overlay, Addrs: t.Addrs, CA: t.CA[:], ID: t.ID, Secret: t.Secret, Uses: t.Uses}
	if !t.Expires.IsZero() {
		w.Expires = t.Expires.Unix()
	}
	return w
}

// String is the text to hand over. It contains the secret: print it once, never log it.
func (t Token) String() string {
	body, err := json.Marshal(t.wire())
	if err != nil {
		panic("pki: a token of strings and bytes must encode: " + err.Error())
	}
	sum := crc32.ChecksumIEEE(body)
	body = append(body, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(body)
}

// ParseToken reads the text of a token. Its errors never quote the token.
func ParseToken(s string) (Token, error) {
	s = strings.TrimSpace(s)
	text, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("cannot read the token: it must begin with %q (make one with: vnet token create)", tokenPrefix)
	}
	if len(s) > maxToken {
		return Token{}, fmt.Errorf("cannot read the token: longer than %d characters", maxToken)
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(body) < 4 {
		return Token{}, errors.New("cannot read the token: characters are missing or foreign; copy it whole, on one line")
	}
	body, tail := body[:len(body)-4], body[len(body)-4:]
	sum := uint32(tail[0])<<24 | uint32(tail[1])<<16 | uint32(tail[2])<<8 | uint32(tail[3])
	if crc32.ChecksumIEEE(body) != sum {
		return Token{}, errors.New("cannot read the token: it was altered or cut; copy it whole, on one line")
	}
	var w wireToken
	if err := json.Unmarshal(body, &w); err != nil {
		return Token{}, fmt.Errorf("cannot read the token: %w", err)
	}
	if len(w.CA) != 32 {
		return Token{}, fmt.Errorf("cannot read the token: its CA fingerprint has %d bytes, not 32", len(w.CA))
	}
	t := Token{Overlay: w.Overlay, Addrs: w.Addrs, CA: Key(w.CA), ID: w.ID, Secret: w.Secret, Uses: w.Uses}
	if w.Expires != 0 {
		t.Expires = time.Unix(w.Expires, 0).UTC()
	}
	if err := t.check(); err != nil {
		return Token{}, err
	}
	return t, nil
}

func (t Token) check() error {
	if err := overlay.ValidName(t.Overlay); err != nil {
		return fmt.Errorf("cannot use the token: %w", err)
	}
	if raw, err := hex.DecodeString(t.ID); err != nil || len(raw) != idLen || len(t.Secret) != secretLen {
		return errors.New("cannot use the token: its id or secret has the wrong length")
	}
	if t.Uses < 0 || t.Uses > maxUses {
		return fmt.Errorf("cannot use the token: it is for %d machines; 1 to %d are allowed", t.Uses, maxUses)
	}
	if len(t.Addrs) == 0 || len(t.Addrs) > maxAddrs {
		return fmt.Errorf("cannot use the token: it has %d Proxy addresses; 1 to %d are allowed", len(t.Addrs), maxAddrs)
	}
	for _, addr := range t.Addrs {
		host, port, err := net.SplitHostPort(addr)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
			return fmt.Errorf("cannot use the token: Proxy address %q is not HOST:PORT", addr)
		}
	}
	return nil
}
