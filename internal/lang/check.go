package lang

import (
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Check is Parse, and looks for frames that the file's rules would send in a circle or deliver twice, in a healthy overlay or
// after any failure. The star and the flood tree are taken to be there.
func Check(name string, text []byte) (*File, error) {
	f, err := Parse(name, text)
	if err != nil {
		return nil, err
	}
	bad := &complaints{file: name}
	m := f.Meaning()
	o := m.Overlay()
	if err := overlay.Kinds(o); err != nil {
		bad.add(m.Rules[0].at, "%v", err)
		return nil, bad.err()
	}
	for _, c := range o.Cycles() {
		bad.add(m.placeOf(c), "%s; change one of these rules", c)
	}
	if err := bad.err(); err != nil {
		return nil, err
	}
	return f, nil
}

// placeOf is the first rule of a cycle.
func (m *Meaning) placeOf(c overlay.Cycle) Pos {
	for _, h := range c.Hops {
		if i := int(h.Rule.ID); i > 0 && i <= len(m.Rules) {
			return m.Rules[i-1].at
		}
	}
	for _, h := range c.Hops {
		for _, u := range m.Rules {
			if u.Node == h.Node {
				return u.at
			}
		}
	}
	return Pos{1, 1}
}

// String is the place as messages have it.
func (p Pos) String() string { return fmt.Sprintf("%d:%d", p.Line, p.Col) }
