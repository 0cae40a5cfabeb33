package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
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

	tokenBucket = "tokens" // by id: record
	nodeBucket  = "joined" // by node name: when it last joined
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

// Ledger hands out tokens and takes each back once. The shelf holds only hashes of secrets,
// and the names of the nodes that joined.
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
		if err := overlay.ValidName(name); err != nil {
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
// log only, or ErrName when the name is another node's: a token takes over the name of a node only if it was made for it.
// A refused token is not used up.
func (l Ledger) Redeem(now time.Time, id string, secret []byte, name string) error {
	joined, err := l.peek(nodeBucket, name)
	if err != nil {
		return fmt.Errorf("cannot look up node %s: %w", name, err)
	}
	err = l.Shelf.Change(tokenBucket, id, func(old []byte) ([]byte, error) {
		r, err := redeemable(old, secret, name, now)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrToken, err)
		}
		if joined != nil && r.Name == "" {
			return nil, fmt.Errorf("%w: there is a node %s already; to put a new machine in its place: vnet token create --name %s", ErrName, name, name)
		}
		r.UsedBy = name
		return json.Marshal(r)
	})
	if err != nil {
		return err
	}
	return l.Shelf.Change(nodeBucket, name, func(old []byte) ([]byte, error) {
		if old != nil && joined == nil {
			return nil, fmt.Errorf("%w: another machine became node %s just now", ErrName, name)
		}
		return now.UTC().MarshalText()
	})
}

// redeemable reads a token's record, or says why it is good for nothing.
func redeemable(text, secret []byte, name string, now time.Time) (record, error) {
	var r record
	if text == nil {
		return r, errTokenUnknown
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	hash := sha256.Sum256(secret)
	switch {
	case subtle.ConstantTimeCompare(hash[:], r.Hash) != 1:
		return r, errTokenSecret
	case r.UsedBy != "":
		return r, errTokenUsed
	case now.After(r.Expires):
		return r, errTokenExpired
	case r.Name != "" && r.Name != name:
		return r, errTokenName
	}
	return r, nil
}

// peek reads one value of the shelf.
func (l Ledger) peek(bucket, key string) (value []byte, err error) {
	err = l.Shelf.Change(bucket, key, func(old []byte) ([]byte, error) {
		value = old
		return old, nil
	})
	return value, err
}
