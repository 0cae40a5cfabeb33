package overlay

import (
	"fmt"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// MatchKind is the qualifier of an address in a rule.
type MatchKind uint8

// The qualifiers of the seed (its §2.1).
const (
	Exact MatchKind = iota // this address
	Not                    // every address but this one
	Any                    // every address
	None                   // only as destination: the default rule of its sources
)

// Match is what a rule asks of one address of a frame.
type Match struct {
	Kind MatchKind
	MAC  ether.MAC // of Exact and Not; zero otherwise
}

// ExactMAC matches mac alone.
func ExactMAC(mac ether.MAC) Match { return Match{Kind: Exact, MAC: mac} }

// ParseMatch reads "aa:bb:cc:dd:ee:ff", "not aa:bb:cc:dd:ee:ff", "any" or "none".
func ParseMatch(s string) (Match, error) {
	switch s {
	case "any":
		return Match{Kind: Any}, nil
	case "none":
		return Match{Kind: None}, nil
	}
	kind, text := Exact, s
	if rest, ok := strings.CutPrefix(s, "not "); ok {
		kind, text = Not, rest
	}
	mac, err := ether.ParseMAC(text)
	if err != nil {
		return Match{}, fmt.Errorf("cannot use address %q: write a MAC address like 02:00:00:00:00:01, the same behind \"not\", any, or (as destination only) none", s)
	}
	return Match{Kind: kind, MAC: mac}, nil
}

// String is the text that ParseMatch reads.
func (m Match) String() string {
	switch m.Kind {
	case Exact:
		return m.MAC.String()
	case Not:
		return "not " + m.MAC.String()
	case Any:
		return "any"
	case None:
		return "none"
	}
	return fmt.Sprintf("match(%d)", uint8(m.Kind))
}

// Covers says whether mac fulfils m. None covers every address: a default rule matches whenever its source does.
func (m Match) Covers(mac ether.MAC) bool {
	switch m.Kind {
	case Exact:
		return m.MAC == mac
	case Not:
		return m.MAC != mac
	}
	return true
}

// names says whether m carries an address of its own.
func (m Match) names() bool { return m.Kind == Exact || m.Kind == Not }

// overlaps says whether some address fulfils both.
func (m Match) overlaps(o Match) bool {
	switch {
	case m.Kind == Exact:
		return o.Covers(m.MAC)
	case o.Kind == Exact:
		return m.Covers(o.MAC)
	}
	return true
}
