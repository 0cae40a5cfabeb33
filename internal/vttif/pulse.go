package vttif

// pulse is how the traffic of one pair, one way, beat lately: what it sent in each millisecond, at three resolutions, so that
// periods from 10 ms to 10 s show in windows of at least three of them. 20 KiB. Its time is the clock of the node that counted.
type pulse struct {
	node  string
	boot  uint64
	until int64 // ms: all before is known
	since int64 // ms: nothing before is known
	rings [pulseRings]pulseRing
}

// pulseRing holds the newest cells of one resolution, each the bytes of so many milliseconds.
type pulseRing struct {
	cells []float32
	head  int64 // number of the newest cell
}

const pulseRings = 3

// pulseWidths in ms a cell, and pulseCells in cells: 2 s, 16 s and 33 s.
func pulseWidths() [pulseRings]int64 { return [...]int64{1, 8, 32} }
func pulseCells() [pulseRings]int    { return [...]int{2048, 2048, 1024} }

// newPulse starts a pulse at a moment of its node's clock.
func newPulse(r *Report, from int64) *pulse {
	p := &pulse{node: r.Node, boot: r.Boot, since: from, until: from}
	for i, n := range pulseCells() {
		p.rings[i] = pulseRing{cells: make([]float32, n), head: from / pulseWidths()[i]}
	}
	return p
}

// of tells whether the pulse goes on where the report continues.
func (p *pulse) of(r *Report) bool { return p != nil && p.node == r.Node && p.boot == r.Boot }

// add counts a report's bins, whose first is of the given moment.
func (p *pulse) add(from int64, b *Bins, length int) {
	widths := pulseWidths()
	eachLevel(b.Levels, length, func(ms int, bytes float64) {
		for i := range p.rings {
			p.rings[i].add((from+int64(ms))/widths[i], float32(bytes))
		}
	})
	p.until = max(p.until, from+int64(length))
}

func (r *pulseRing) add(at int64, bytes float32) {
	r.advance(at)
	if n := int64(len(r.cells)); at > r.head-n {
		r.cells[at%n] += bytes
	}
}

func (r *pulseRing) advance(at int64) {
	n := int64(len(r.cells))
	if at-r.head >= n {
		clear(r.cells)
		r.head = at
	}
	for r.head < at {
		r.head++
		r.cells[r.head%n] = 0
	}
}

// known is how many cells of a resolution there are up to a moment, the first and the last, which are not whole, left out.
func (p *pulse) known(level int, until int64) int {
	width := pulseWidths()[level]
	return int(min(until/width-p.since/width-1, int64(pulseCells()[level])))
}

// last copies the newest cells before the given moment into out, oldest first, lightly smoothed (¼ ½ ¼) so that a burst on
// the border of two cells stays one. What is not known is taken for silence: a pair without a series hardly sent.
func (p *pulse) last(level int, until int64, out []float64) {
	r, width := &p.rings[level], pulseWidths()[level]
	end := until / width // this cell is not over
	r.advance(end)
	n := int64(len(out))
	size := int64(len(r.cells))
	at := func(i int64) float64 {
		if i <= r.head-size || i > r.head {
			return 0
		}
		return float64(r.cells[i%size])
	}
	for i := range n {
		cell := end - n + i
		out[i] = at(cell-1)/4 + at(cell)/2 + at(cell+1)/4
	}
}

// bins takes in the milliseconds of a report.
func (in *Inferrer) bins(r *Report) {
	if len(r.Bins) == 0 || r.BinsLen <= 0 || r.BinsLen > ringMs {
		return
	}
	from := in.ledger.msOf(r)
	for i := range r.Bins {
		b := &r.Bins[i]
		f, dir := in.flow(b.Pair)
		if f == nil || f.never {
			continue
		}
		if b.Delivered {
			continue
		}
		if !f.pulse[dir].of(r) {
			if f.pulse[dir] == nil {
				if in.pulses >= in.cfg.MaxPulses || !f.published && !f.candidate {
					continue // chatter, or a flood, takes no room from applications
				}
				in.pulses++
			}
			f.pulse[dir] = newPulse(r, from)
		}
		f.pulse[dir].add(from, b, r.BinsLen)
	}
	in.talk(r, from)
}

// quiet forgets how a flow beat: it is no edge, nor about to be one.
func (in *Inferrer) quiet(f *flow) {
	for dir, p := range f.pulse {
		if p != nil {
			in.pulses--
			f.pulse[dir] = nil
		}
	}
}

// flow finds what is known of a pair, and which of its two ways it is.
func (in *Inferrer) flow(p Pair) (f *flow, dir int) {
	if p.Src.Compare(p.Dst) > 0 {
		p, dir = Pair{Src: p.Dst, Dst: p.Src}, 1
	}
	return in.flows[p], dir
}
