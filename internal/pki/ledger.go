package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Shelf is where the Proxy keeps its tokens; internal/store is one.
type Shelf interface {
	// Change replaces the value under key by what f makes of it, as one transaction. old is nil when there is none; a nil
	// result deletes. When f fails nothing changes and its error is returned.
	Change(bucket, key string, f func(old []byte) ([]byte, error)) error
}

const (
	// DefaultTokenTTL is long enough to walk to the other machine, short enough to forget about the token.
	DefaultTokenTTL = time.Hour

	tokenBucket = "tokens"
)

// Why a token is refused. A stranger is told all of them as one ErrToken, so that tokens cannot be probed for.
var (
	ErrToken        = errors.New("the token is not valid here: unknown, wrong, used or expired (make a new one with: vnet token create)")
	errTokenUnknown = errors.New("unknown token")
	errTokenSecret  = errors.New("wrong secret")
	errTokenExpired = errors.New("expired token")
	errTokenUsed    = errors.New("token already used")
	errTokenName    = errors.New("token made for another name")
)

// Ledger hands out tokens and takes each back once. The shelf holds only hashes of secrets.
type Ledger struct {
	Shelf Shelf
}

// record is what the shelf keeps of a token.
type record struct {
	Hash    []byte    `json:"hash"` // SHA-256 of the secret; 128 random bits need no salt or stretching
	Expires time.Time `json:"expires"`
	Name    string    `json:"name,omitempty"` // the only node name it may enrol; empty: any
	UsedBy  string    `json:"used_by,omitempty"`
}

// Create makes a token for one enrolment within ttl, of the node called name when that is not empty.
func (l Ledger) Create(now time.Time, ttl time.Duration, ca *CA, addrs []string, name string) (Token, error) {
	if name != "" {
		if err := checkName("node", name); err != nil {
			return Token{}, err
		}
	}
	if ttl <= 0 {
		return Token{}, fmt.Errorf("cannot make a token that lives %v: give a duration above zero", ttl)
	}
	t, err := newToken(ca.overlay, addrs, ca.Fingerprint())
	if err != nil {
		return Token{}, err
	}
	hash := sha256.Sum256(t.Secret)
	text, err := json.Marshal(record{Hash: hash[:], Expires: now.Add(ttl), Name: name})
	if err != nil {
		return Token{}, fmt.Errorf("cannot encode the token: %w", err)
	}
	put := func([]byte) ([]byte, error) { return text, nil }
	if err := l.Shelf.Change(tokenBucket, t.ID, put); err != nil {
		return Token{}, fmt.Errorf("cannot keep the token: %w", err)
	}
	return t, nil
}

// Redeem uses a token up for the node called name. The error wraps ErrToken and the reason, which is for the Proxy's own
// log only. A wrong secret or name does not use the token up.
func (l Ledger) Redeem(now time.Time, id string, secret []byte, name string) error {
	err := l.Shelf.Change(tokenBucket, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, errTokenUnknown
		}
		var r record
		if err := json.Unmarshal(old, &r); err != nil {
			return nil, err
		}
		hash := sha256.Sum256(secret)
		switch {
		case subtle.ConstantTimeCompare(hash[:], r.Hash) != 1:
			return nil, errTokenSecret
		case r.UsedBy != "":
			return nil, errTokenUsed
		case now.After(r.Expires):
			return nil, errTokenExpired
		case r.Name != "" && r.Name != name:
			return nil, errTokenName
		}
		r.UsedBy = name
		return json.Marshal(r)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	return nil
}
