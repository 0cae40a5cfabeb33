package forward

import (
	"cmp"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// numbered is a rule as the table keeps it, found by its ID. Immutable.
type numbered struct {
	Rule
	rank int
}

func (r *numbered) key() uint64 { return r.ID }

// bucket holds the rules of one key, the lowest ID first. They are equally strong, so the first that fits decides: with
// "not" sources or destinations that is nearly always one of the first two, however many there are. Immutable.
type bucket struct {
	at    key
	rules []*numbered
}

func (b *bucket) key() key { return b.at }

// with is the bucket plus r.
func (b *bucket) with(r *numbered) *bucket {
	i, _ := slices.BinarySearchFunc(b.rules, r, byID)
	rules := make([]*numbered, 0, len(b.rules)+1)
	rules = append(append(append(rules, b.rules[:i]...), r), b.rules[i:]...)
	return &bucket{at: b.at, rules: rules}
}

// without is the bucket less r.
func (b *bucket) without(r *numbered) *bucket {
	rules := make([]*numbered, 0, len(b.rules)-1)
	for _, have := range b.rules {
		if have.ID != r.ID {
			rules = append(rules, have)
		}
	}
	return &bucket{at: b.at, rules: rules}
}

func byID(a, b *numbered) int { return cmp.Compare(a.ID, b.ID) }

// choice is the state of a search: the best rule so far among those equally strong.
type choice struct {
	best *numbered
	tied bool // another was as strong
	lost bool // one matched but its output is gone
}

// from looks for the rules of the bucket that match and can send.
func (c *choice) from(b *bucket, src, dst ether.MAC, gone map[Side]bool) {
	for _, r := range b.rules {
		switch {
		case r.Src.Kind == overlay.Not && r.Src.MAC == src, r.Dst.Kind == overlay.Not && r.Dst.MAC == dst:
		case len(gone) > 0 && gone[r.Out]:
			c.lost = true
		case c.best == nil:
			c.best = r
		default:
			c.tied = true
			if r.ID < c.best.ID {
				c.best = r
			}
			return
		}
	}
}
