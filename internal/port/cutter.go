package port

import (
	"errors"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

var (
	errMarks = errors.New("the marks of a packet lie")
	errShort = errors.New("a packet is no frame")
	errCut   = errors.New("not every piece went")
)

// cutter is the scratch for finishing one packet. It belongs to the call that took it from the pool.
type cutter struct {
	segmenter ether.Segmenter
	emit      func(*ether.Packet) // piece, bound once so that it costs no allocation
	packet    ether.Packet
	outlet    *outlet
	queue     int
	lost      int   // pieces
	fatal     error // what ends the port
}

// finish delivers a packet the door does not take whole: cut, completed, or both.
func (o *outlet) finish(q int, p *ether.Packet) error {
	if !p.Frame.Valid() {
		return errShort
	}
	c, ok := o.pool.Get().(*cutter)
	if !ok {
		c = new(cutter)
		c.emit = c.piece
	}
	c.outlet, c.queue, c.lost, c.fatal = o, q, 0, nil
	c.packet = *p
	err := c.run()
	c.outlet, c.packet = nil, ether.Packet{}
	o.pool.Put(c)
	return err
}

func (c *cutter) run() error {
	p := &c.packet
	if err := p.Check(); err != nil {
		return errMarks
	}
	if !p.Offload.Segmented() {
		return c.put(p)
	}
	limit := 0
	if mtu := int(c.outlet.mtu.Load()); mtu > 0 {
		limit = p.Frame.L3() + mtu
	}
	if err := c.segmenter.Segment(p, limit, c.emit); err != nil {
		return errMarks
	}
	if c.fatal != nil {
		return c.fatal
	}
	if c.lost > 0 {
		return errCut
	}
	return nil
}

// piece delivers one frame of a super-frame.
func (c *cutter) piece(p *ether.Packet) {
	if c.fatal != nil {
		return
	}
	if err := c.put(p); err != nil {
		c.lost++
		if !c.outlet.drop(err, 1) {
			c.fatal = err
		}
	}
}

// put delivers one frame, completing its checksum if need be, and leaves its bytes as they were: others may hold
// the same bytes with the old marks.
func (c *cutter) put(p *ether.Packet) error {
	o := c.outlet
	if !o.fits(p.Frame, len(p.Frame)) {
		return errLong
	}
	whole := takes(o.takes.Load())&takesChecksum != 0
	if !p.Offload.Partial() || whole && !p.Frame.DHCP() {
		err := o.door.put(c.queue, p)
		if !errors.Is(err, errOffload) || !o.blame(p, err) {
			return err
		}
	}
	field := p.Frame[p.Offload.CsumStart+p.Offload.CsumOffset:][:2]
	saved := [2]byte(field)
	if err := ether.Complete(p); err != nil {
		return errMarks
	}
	err := o.door.put(c.queue, p)
	copy(field, saved[:])
	return err
}
