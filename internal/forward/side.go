package forward

import "fmt"

// Side is where a frame enters or leaves a node: a small number that the node gives to each port and link. 0 is any.
type Side uint32

// AnySide is the arrival of a rule that does not ask where a frame came from.
const AnySide Side = 0

const (
	linkBit  Side = 1 << 31
	portBit  Side = 1 << 30
	maxIndex      = 1<<20 - 1 // more ports or links than any one node can hold
)

// PortSide is the side of local port n, 0 <= n < 1<<20.
func PortSide(n int) Side { return portBit | index(n) }

// LinkSide is the side of link n, 0 <= n < 1<<20.
func LinkSide(n int) Side { return linkBit | index(n) }

func index(n int) Side {
	if n < 0 || n > maxIndex {
		panic("forward: side out of range")
	}
	return Side(n)
}

// IsLink says whether s is a link.
func (s Side) IsLink() bool { return s&linkBit != 0 }

// IsPort says whether s is a local port.
func (s Side) IsPort() bool { return s&portBit != 0 }

// Index is the number the node gave.
func (s Side) Index() int { return int(s & maxIndex) }

// String is for tests and logs: the names are the node's.
func (s Side) String() string {
	switch {
	case s.IsLink():
		return fmt.Sprintf("link%d", s.Index())
	case s.IsPort():
		return fmt.Sprintf("port%d", s.Index())
	}
	return "any"
}
