package pki

import (
	"encoding/json"
	"fmt"
	"time"
)

// Member is a node that has joined, or waits to be let in.
type Member struct {
	Name    string    `json:"name"`
	Key     Key       `json:"key"` // zero: it joined under 0.1.0 and has not been seen since
	Joined  time.Time `json:"joined"`
	Waiting bool      `json:"waiting,omitempty"` // somebody has to approve it
	Expires time.Time `json:"expires,omitzero"`  // of its newest certificate; zero: not renewed yet
}

// readMember reads a member's record, also one that 0.1.0 wrote: a bare time.
func readMember(tx Tx, name string) (m Member, known bool) {
	text := tx.Get(memberBucket, name)
	if text == nil {
		return m, false
	}
	return decodeMember(name, text), true
}

func decodeMember(name string, text []byte) (m Member) {
	if json.Unmarshal(text, &m) != nil {
		m = Member{}
		_ = m.Joined.UnmarshalText(text) // else it joined at an unknown time
	}
	m.Name = name
	return m
}

// waiting counts the members that wait.
func waiting(tx Tx) (n int) {
	_ = tx.Each(memberBucket, func(name string, text []byte) error {
		if decodeMember(name, text).Waiting {
			n++
		}
		return nil
	})
	return n
}

// Members lists all members in the order of their names.
func (l Ledger) Members() (list []Member, err error) {
	err = l.Shelf.View(func(tx Tx) error {
		return tx.Each(memberBucket, func(name string, text []byte) error {
			list = append(list, decodeMember(name, text))
			return nil
		})
	})
	return list, err
}

// Member is one of them.
func (l Ledger) Member(name string) (m Member, known bool, err error) {
	err = l.Shelf.View(func(tx Tx) error {
		m, known = readMember(tx, name)
		return nil
	})
	return m, known, err
}

// Holds says whether key is the one that the member called name is registered with. A node that is no member, or whose key
// is not registered yet, is not known; the error says that the name is another key's, or that it waits.
func (l Ledger) Holds(name string, key Key) (known bool, err error) {
	m, known, err := l.Member(name)
	switch {
	case err != nil:
		return false, err
	case !known || m.Key == Key{}:
		return false, nil
	case m.Key != key:
		return false, fmt.Errorf("cannot accept the peer: node %s joined with another key, %v", name, m.Key)
	case m.Waiting:
		return false, fmt.Errorf("cannot accept the peer: node %s waits to be approved", name)
	}
	return true, nil
}

// Seen registers the key of a node whose certificate is genuine, if the register has none under its name, and until when
// the certificate is good.
func (l Ledger) Seen(now time.Time, name string, key Key, expires time.Time) error {
	return l.Shelf.Update(func(tx Tx) error {
		m, known := readMember(tx, name)
		switch {
		case known && m.Key != key && m.Key != Key{}:
			return fmt.Errorf("cannot register node %s: it joined with another key", name)
		case !known:
			m = Member{Name: name, Joined: now.UTC()}
		}
		m.Key, m.Expires = key, expires.UTC()
		return put(tx, memberBucket, name, m)
	})
}

// Approve lets a member in that waits.
func (l Ledger) Approve(name string) (m Member, err error) {
	err = l.Shelf.Update(func(tx Tx) error {
		known := false
		if m, known = readMember(tx, name); !known {
			return fmt.Errorf("cannot approve %s: %w", name, ErrNoMember)
		}
		m.Waiting = false
		return put(tx, memberBucket, name, m)
	})
	return m, err
}

// Remove forgets a member.
func (l Ledger) Remove(name string) (m Member, err error) {
	err = l.Shelf.Update(func(tx Tx) error {
		known := false
		if m, known = readMember(tx, name); !known {
			return fmt.Errorf("cannot remove %s: %w", name, ErrNoMember)
		}
		return tx.Delete(memberBucket, name)
	})
	return m, err
}

// PutOut are the keys whose names other machines have taken over, and which are to be revoked now: not those whose successor still
// waits to be let in.
func (l Ledger) PutOut() (list []Revocation, err error) {
	err = l.Shelf.View(func(tx Tx) error {
		return tx.Each(outBucket, func(_ string, text []byte) error {
			var r Revocation
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("cannot read whom another machine has put out: %w", err)
			}
			if m, known := readMember(tx, r.Name); !known || !m.Waiting {
				list = append(list, r)
			}
			return nil
		})
	})
	return list, err
}

// Settle takes down that keys of PutOut were revoked.
func (l Ledger) Settle(list []Revocation) error {
	return l.Shelf.Update(func(tx Tx) error {
		for _, r := range list {
			if err := tx.Delete(outBucket, r.Key.String()); err != nil {
				return err
			}
		}
		return nil
	})
}
