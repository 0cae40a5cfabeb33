package overlay

import (
	"fmt"
	"strings"
)

// SideKind says what a Side is.
type SideKind uint8

// The kinds of sides.
const (
	AnySide  SideKind = iota // wherever a frame came from; never an output
	PortSide                 // a local port
	LinkSide                 // a link, named by the node at its other end
)

// Side is where a frame enters or leaves a node. The zero Side is any.
type Side struct {
	Kind SideKind
	Name string // of the port, or of the peer; empty for any
}

// AtPort is the side of the local port called name.
func AtPort(name string) Side { return Side{Kind: PortSide, Name: name} }

// AtLink is the side of the link to peer.
func AtLink(peer Name) Side { return Side{Kind: LinkSide, Name: string(peer)} }

// ParseSide reads "any", "port:NAME" or "link:PEER".
func ParseSide(s string) (Side, error) {
	if s == "any" {
		return Side{}, nil
	}
	kind, name, _ := strings.Cut(s, ":")
	switch kind {
	case "port":
		if err := ValidPort(name); err != nil {
			return Side{}, err
		}
		return AtPort(name), nil
	case "link":
		if err := ValidName(name); err != nil {
			return Side{}, err
		}
		return AtLink(Name(name)), nil
	}
	return Side{}, fmt.Errorf("cannot use side %q: it is any, port:NAME or link:NODE", s)
}

// String is the text that ParseSide reads.
func (s Side) String() string {
	switch s.Kind {
	case PortSide:
		return "port:" + s.Name
	case LinkSide:
		return "link:" + s.Name
	}
	return "any"
}

// Covers says whether a frame that arrived by arrival fulfils s.
func (s Side) Covers(arrival Side) bool { return s.Kind == AnySide || s == arrival }

// Peer is the node at the other end of a link; empty for the other kinds.
func (s Side) Peer() Name {
	if s.Kind != LinkSide {
		return ""
	}
	return Name(s.Name)
}
