package overlay

import (
	"fmt"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Rule sends the frames it matches to one side of the node that holds it.
type Rule struct {
	ID      uint64 // unique at its node; 0 = not numbered yet
	Arrival Side   // where the frame came in
	Src     Match
	Dst     Match
	Out     Side // a port or a link
	Origin  Origin
}

// ParseRule reads "from SIDE src MATCH dst MATCH to SIDE"; without "from SIDE" it is any. ID and Origin are left zero.
func ParseRule(s string) (Rule, error) {
	var r Rule
	words := strings.Fields(s)
	take := func(key string) (string, error) {
		if len(words) < 2 || words[0] != key {
			return "", fmt.Errorf("cannot read rule %q: want \"from SIDE src MATCH dst MATCH to SIDE\", missing %q", s, key)
		}
		value, n := words[1], 2
		if value == "not" && len(words) > 2 {
			value, n = "not "+words[2], 3
		}
		words = words[n:]
		return value, nil
	}
	parts := []struct {
		key string
		set func(string) error
	}{
		{"from", func(v string) (err error) { r.Arrival, err = ParseSide(v); return err }},
		{"src", func(v string) (err error) { r.Src, err = ParseMatch(v); return err }},
		{"dst", func(v string) (err error) { r.Dst, err = ParseMatch(v); return err }},
		{"to", func(v string) (err error) { r.Out, err = ParseSide(v); return err }},
	}
	if len(words) > 0 && words[0] == "src" {
		parts = parts[1:]
	}
	for _, p := range parts {
		value, err := take(p.key)
		if err != nil {
			return Rule{}, err
		}
		if err := p.set(value); err != nil {
			return Rule{}, fmt.Errorf("cannot read rule %q: %w", s, err)
		}
	}
	if len(words) > 0 {
		return Rule{}, fmt.Errorf("cannot read rule %q: nothing may follow \"to SIDE\", found %q", s, words[0])
	}
	return r, r.Check()
}

// String is the text that ParseRule reads.
func (r Rule) String() string {
	return fmt.Sprintf("from %s src %s dst %s to %s", r.Arrival, r.Src, r.Dst, r.Out)
}

// Check says whether the rule has a meaning by itself, whatever node holds it.
func (r Rule) Check() error {
	if _, err := Rank(r.Src, r.Dst); err != nil {
		return err
	}
	switch {
	case r.Out.Kind != PortSide && r.Out.Kind != LinkSide:
		return fmt.Errorf("cannot use rule %q: a rule sends to port:NAME or link:NODE", r)
	case r.Arrival == r.Out:
		return fmt.Errorf("cannot use rule %q: no frame leaves by the side it came in by; name another side", r)
	}
	return nil
}

// SameAs says whether the rules do the same for the same reason; the ID does not matter.
func (r Rule) SameAs(o Rule) bool { r.ID = o.ID; return r == o }

// unnumbered is equal for rules that are the same (SameAs).
func (r Rule) unnumbered() Rule { r.ID = 0; return r }

// Rank is the strength of the rule; -1 when it has no meaning.
func (r Rule) Rank() int {
	n, err := Rank(r.Src, r.Dst)
	if err != nil {
		return -1
	}
	return n
}

// Matches says whether a frame is one of those the rule speaks of.
func (r Rule) Matches(arrival Side, src, dst ether.MAC) bool {
	return r.Arrival.Covers(arrival) && r.Src.Covers(src) && r.Dst.Covers(dst)
}

// stronger says whether r wins over o when both match: rank, then the named arrival side, then the lower ID.
func (r Rule) stronger(o Rule) bool {
	switch a, b := r.Rank(), o.Rank(); {
	case a != b:
		return a > b
	case (r.Arrival.Kind == AnySide) != (o.Arrival.Kind == AnySide):
		return o.Arrival.Kind == AnySide
	}
	return r.ID < o.ID
}

// ties says whether only the ID decides between r and o, for a frame that both match.
func (r Rule) ties(o Rule) bool {
	return r.Rank() == o.Rank() && (r.Arrival.Kind == AnySide) == (o.Arrival.Kind == AnySide)
}
