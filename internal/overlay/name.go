package overlay

import "fmt"

// Name is the name of a node, unique in its overlay.
type Name string

// maxName is the longest name of a node in bytes: names go into certificates and DNS labels end at 63 (RFC 1035 §2.3.4).
const maxName = 63

// ValidName says whether s may name a node: [a-z0-9][a-z0-9-]{0,62}.
func ValidName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("cannot use name %q: a name has 1 to %d characters", s, maxName)
	}
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-' && i > 0:
		default:
			return fmt.Errorf("cannot use name %q: a name is made of a-z, 0-9 and -, and starts with a letter or a digit", s)
		}
	}
	return nil
}

// maxPortName is the longest name of a port in bytes; interface names of Linux have at most 15, names chosen by users may be longer.
const maxPortName = 63

// ValidPort says whether s may name a port: whatever an interface of Linux is commonly called.
func ValidPort(s string) error {
	if s == "" || len(s) > maxPortName {
		return fmt.Errorf("cannot use port name %q: it has 1 to %d characters", s, maxPortName)
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == '@':
		default:
			return fmt.Errorf("cannot use port name %q: it is made of letters, digits and - _ . @", s)
		}
	}
	return nil
}

// Origin says who wanted a rule or a link.
type Origin uint8

// The origins. Adaptation never touches what has OriginUser.
const (
	OriginUser    Origin = iota // asked for by the user, on the command line or in the language
	OriginLearned               // made because a MAC was seen at a port
	OriginAdapted               // made by an adaptation policy
	OriginStar                  // the built-in star; nobody can delete it
)

// String is the word for o.
func (o Origin) String() string {
	switch o {
	case OriginUser:
		return "user"
	case OriginLearned:
		return "learned"
	case OriginAdapted:
		return "adapted"
	case OriginStar:
		return "star"
	}
	return fmt.Sprintf("origin(%d)", uint8(o))
}

// ParseOrigin is the inverse of String.
func ParseOrigin(s string) (Origin, error) {
	for o := OriginUser; o <= OriginStar; o++ {
		if s == o.String() {
			return o, nil
		}
	}
	return 0, fmt.Errorf("cannot use origin %q: it is one of user, learned, adapted, star", s)
}
