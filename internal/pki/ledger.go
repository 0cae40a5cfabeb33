package pki

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Tx is one transaction on a [Shelf].
type Tx = interface {
	// Get returns nil when there is no value.
	Get(bucket, key string) []byte
	Put(bucket, key string, value []byte) error
	Delete(bucket, key string) error
	// Each calls f in the order of keys; f must not change the bucket.
	Each(bucket string, f func(key string, value []byte) error) error
}

// Shelf is where the Proxy keeps its tokens and members; internal/store is one.
type Shelf interface {
	// Update takes effect as a whole, or, when f fails, not at all.
	Update(f func(Tx) error) error
	View(f func(Tx) error) error
}

const (
	// DefaultTokenTTL is long enough to walk to the other machine, short enough to forget about the token.
	DefaultTokenTTL = time.Hour
	// deadKept is how long a token that is used up or expired is still listed; then it is pruned.
	deadKept = 24 * time.Hour
	// maxTokens bounds how many tokens may live at a time, maxWaiting how many machines may wait to be approved.
	maxTokens, maxWaiting = 10_000, 1000

	tokenBucket  = "tokens" // by id: record
	memberBucket = "joined" // by node name: Member; 0.1.0 kept only the time
	outBucket    = "out"    // by key: Revocation, of a machine whose name another has taken over, until the list of trust says so
)

// Why a token is refused. A stranger is told all of them as one ErrToken, so that tokens cannot be probed for.
var (
	ErrToken        = errors.New("the token is not valid here: unknown, wrong, used, expired or revoked (make a new one with: vnet token create)")
	errTokenUnknown = errors.New("unknown token")
	errTokenSecret  = errors.New("wrong secret")
	errTokenExpired = errors.New("expired token")
	errTokenUsed    = errors.New("token already used")
	errTokenName    = errors.New("token made for another name")
)

// ErrNoToken says that there is no token with an id, ErrNoMember that there is no member with a name.
var (
	ErrNoToken  = errors.New("there is no such token")
	ErrNoMember = errors.New("there is no such node")
)

// Ledger hands out tokens, takes them back, and knows who has joined. The shelf holds only hashes of secrets.
type Ledger struct {
	Shelf Shelf
}

// Terms are what a token is good for. The zero value is one machine of any free name, within DefaultTokenTTL.
type Terms struct {
	TTL     time.Duration
	Uses    int    // machines; 0 is 1
	Name    string // the only node name; it may be one that another machine has now, which is then put out
	Approve bool   // each machine waits until somebody approves it
}

// record is what the shelf keeps of a token.
type record struct {
	Hash    []byte    `json:"hash"` // SHA-256 of the secret; 128 random bits need no salt or stretching
	Made    time.Time `json:"made,omitzero"`
	Expires time.Time `json:"expires"`
	Name    string    `json:"name,omitempty"`    // the only node name it may enrol; empty: any
	Uses    int       `json:"uses,omitempty"`    // 0: one
	Approve bool      `json:"approve,omitempty"` // enrolled nodes wait for approval
	UsedBy  string    `json:"used_by,omitempty"` // of 0.1.0
	Users   []user    `json:"users,omitempty"`
	Ended   time.Time `json:"ended,omitzero"` // when the last use was taken
}

// user is a machine that a token let in.
type user struct {
	Name string `json:"name"`
	Key  Key    `json:"key"`
}

// TokenInfo is what may be shown of a token.
type TokenInfo struct {
	ID            string
	Made, Expires time.Time
	Name          string
	Uses          int // machines it is good for in all
	UsedBy        []string
	Approve       bool
}

// Live says whether the token would still let a machine in.
func (t TokenInfo) Live(now time.Time) bool { return len(t.UsedBy) < t.Uses && now.Before(t.Expires) }

func (r record) info(id string) TokenInfo {
	t := TokenInfo{ID: id, Made: r.Made, Expires: r.Expires, Name: r.Name, Uses: max(r.Uses, 1), Approve: r.Approve}
	if r.UsedBy != "" {
		t.UsedBy = []string{r.UsedBy}
	}
	for _, u := range r.Users {
		t.UsedBy = append(t.UsedBy, u.Name)
	}
	return t
}

// Create makes a token of ca's overlay, whose Proxy is at addrs. Tokens that have been dead for long are pruned.
func (l Ledger) Create(now time.Time, ca *CA, addrs []string, terms Terms) (Token, error) {
	if terms.Name != "" {
		if err := overlay.ValidName(terms.Name); err != nil {
			return Token{}, err
		}
	}
	if terms.TTL == 0 {
		terms.TTL = DefaultTokenTTL
	}
	terms.Uses = max(terms.Uses, 1)
	switch {
	case terms.TTL < 0:
		return Token{}, fmt.Errorf("cannot make a token that lives %v: give a duration above zero", terms.TTL)
	case terms.Uses > maxUses:
		return Token{}, fmt.Errorf("cannot make a token for %d machines: at most %d are allowed", terms.Uses, maxUses)
	case terms.Name != "" && terms.Uses > 1:
		return Token{}, fmt.Errorf("cannot make a token for %d machines called %s: a name is one machine's", terms.Uses, terms.Name)
	}
	t, err := newToken(ca.overlay, addrs, ca.Fingerprint())
	if err != nil {
		return Token{}, err
	}
	t.Expires, t.Uses = now.Add(terms.TTL).UTC().Truncate(time.Second), terms.Uses
	hash := sha256.Sum256(t.Secret)
	r := record{Hash: hash[:], Made: now.UTC(), Expires: now.Add(terms.TTL).UTC(), Name: terms.Name, Uses: terms.Uses, Approve: terms.Approve}
	err = l.Shelf.Update(func(tx Tx) error {
		live, err := prune(tx, now)
		if err == nil && live >= maxTokens {
			err = fmt.Errorf("there are %d that nobody has used; revoke some (vnet token revoke)", live)
		}
		if err != nil {
			return err
		}
		return put(tx, tokenBucket, t.ID, r)
	})
	if err != nil {
		return Token{}, fmt.Errorf("cannot keep the token: %w", err)
	}
	return t, nil
}

// prune deletes tokens that have been dead for long and counts the others.
func prune(tx Tx, now time.Time) (left int, err error) {
	var dead []string
	err = tx.Each(tokenBucket, func(id string, text []byte) error {
		var r record
		if json.Unmarshal(text, &r) == nil {
			ended := r.Expires
			if !r.Ended.IsZero() && r.Ended.Before(ended) {
				ended = r.Ended
			}
			if now.After(ended.Add(deadKept)) {
				dead = append(dead, id)
				return nil
			}
		}
		left++
		return nil
	})
	for _, id := range dead {
		err = errors.Join(err, tx.Delete(tokenBucket, id))
	}
	return left, err
}

// Prune deletes tokens that have been used up or expired for a day.
func (l Ledger) Prune(now time.Time) error {
	return l.Shelf.Update(func(tx Tx) error {
		_, err := prune(tx, now)
		return err
	})
}

// Tokens lists all tokens, the newest last.
func (l Ledger) Tokens() (list []TokenInfo, err error) {
	err = l.Shelf.View(func(tx Tx) error {
		return tx.Each(tokenBucket, func(id string, text []byte) error {
			var r record
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("cannot read token %s: %w", id, err)
			}
			list = append(list, r.info(id))
			return nil
		})
	})
	slices.SortStableFunc(list, func(a, b TokenInfo) int { return a.Made.Compare(b.Made) })
	return list, err
}

// RevokeToken makes a token worth nothing; who has joined with it stays.
func (l Ledger) RevokeToken(id string) error {
	return l.Shelf.Update(func(tx Tx) error {
		if tx.Get(tokenBucket, id) == nil {
			return fmt.Errorf("cannot revoke token %q: %w", id, ErrNoToken)
		}
		return tx.Delete(tokenBucket, id)
	})
}

// VoidTokens makes all tokens worth nothing, who has joined stays. It says how many
// could still have let somebody in.
func (l Ledger) VoidTokens(now time.Time) (live int, err error) {
	err = l.Shelf.Update(func(tx Tx) error {
		live = 0
		var ids []string
		err := tx.Each(tokenBucket, func(id string, text []byte) error {
			var r record
			if json.Unmarshal(text, &r) == nil && r.info(id).Live(now) {
				live++
			}
			ids = append(ids, id)
			return nil
		})
		for _, id := range ids {
			err = errors.Join(err, tx.Delete(tokenBucket, id))
		}
		return err
	})
	return live, err
}

// Admit uses a token up for a machine and registers it, in one transaction: of many machines with one single-use token
// exactly one gets in, and none is registered whose token is not used up. The error wraps ErrToken and the reason, which is
// for the Proxy's own log only, or ErrName. A token takes over the name of a node only if it was made for it; the key of the
// machine that is put out is then replaced, and PutOut names it until Settle is told that it was revoked: a Proxy that dies between
// the two finds it there. A machine that asks again with the key it was admitted with gets the same answer.
func (l Ledger) Admit(now time.Time, a Application) (m Member, replaced Key, err error) {
	err = l.Shelf.Update(func(tx Tx) error {
		text := tx.Get(tokenBucket, a.TokenID)
		r, again, err := redeemable(text, a, now)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrToken, err)
		}
		old, known := readMember(tx, a.Name)
		if again {
			if m = old; !known || old.Key != a.Key { // it has left, or was put out, since
				return fmt.Errorf("%w: %w", ErrToken, errTokenUsed)
			}
			return nil
		}
		if known && r.Name == "" && old.Key != a.Key {
			return nameTaken(a.Name)
		}
		if r.Approve && waiting(tx) >= maxWaiting {
			return fmt.Errorf("%d machines wait to be approved already", maxWaiting)
		}
		m = Member{Name: a.Name, Key: a.Key, Joined: now.UTC(), Waiting: r.Approve}
		if known && old.Key != a.Key {
			if replaced = old.Key; replaced != (Key{}) {
				if err := put(tx, outBucket, replaced.String(), Revocation{Name: a.Name, Key: replaced, When: now.UTC()}); err != nil {
					return err
				}
			}
		}
		r.Users = append(r.Users, user{Name: a.Name, Key: a.Key})
		if len(r.Users) >= max(r.Uses, 1) {
			r.Ended = now.UTC()
		}
		if err := put(tx, tokenBucket, a.TokenID, r); err != nil {
			return err
		}
		return put(tx, memberBucket, a.Name, m)
	})
	return m, replaced, err
}

// Check says what Admit would refuse for, and changes nothing.
func (l Ledger) Check(now time.Time, a Application) error {
	return l.Shelf.View(func(tx Tx) error {
		r, _, err := redeemable(tx.Get(tokenBucket, a.TokenID), a, now)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrToken, err)
		}
		if _, known := readMember(tx, a.Name); known && r.Name == "" {
			return nameTaken(a.Name)
		}
		return nil
	})
}

func nameTaken(name string) error {
	return fmt.Errorf("%w: there is a node %s already; to put a new machine in its place: vnet token create --name %s", ErrName, name, name)
}

// redeemable reads a token's record, or says why it is good for nothing. again is true for a machine it has let in before.
func redeemable(text []byte, a Application, now time.Time) (r record, again bool, err error) {
	if text == nil {
		return r, false, errTokenUnknown
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, false, err
	}
	hash := sha256.Sum256(a.Secret)
	switch {
	case subtle.ConstantTimeCompare(hash[:], r.Hash) != 1:
		return r, false, errTokenSecret
	case slices.Contains(r.Users, user{Name: a.Name, Key: a.Key}):
		return r, true, nil
	case r.UsedBy != "", len(r.Users) >= max(r.Uses, 1):
		return r, false, errTokenUsed
	case now.After(r.Expires):
		return r, false, errTokenExpired
	case r.Name != "" && r.Name != a.Name:
		return r, false, errTokenName
	}
	return r, false, nil
}

func put(tx Tx, bucket, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot encode %s of %s: %w", key, bucket, err)
	}
	return tx.Put(bucket, key, text)
}
