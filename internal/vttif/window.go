package vttif

// window is a ring of cells, one for each interval between two reports; intervals are numbered from the Inferrer's start.
type window struct {
	head  int64 // number of the newest interval
	cells []cell
}

// cell is what was counted in one interval: [0] from the lower MAC to the higher, [1] back.
type cell struct {
	payload   [2]uint64 // offered bytes without bare acknowledgements
	offered   [2]uint64 // bytes
	delivered [2]uint64 // bytes
}

func newWindow(slots int, at int64) window { return window{head: at, cells: make([]cell, slots)} }

// add counts t, in equal parts, into the given number of intervals that ends with at. What has left the window is forgotten.
func (w *window) add(at int64, intervals, dir int, t Tally) {
	w.advance(at)
	for i := max(at-int64(intervals), w.head-int64(len(w.cells))) + 1; i <= at; i++ {
		c := &w.cells[w.index(i)]
		c.payload[dir] += t.payload() / uint64(intervals)
		c.offered[dir] += t.OfferedBytes / uint64(intervals)
		c.delivered[dir] += t.DeliveredBytes / uint64(intervals)
	}
}

// advance makes at the newest interval, unless it is an older one.
func (w *window) advance(at int64) {
	if at-w.head >= int64(len(w.cells)) {
		clear(w.cells)
		w.head = at
		return
	}
	for w.head < at {
		w.head++
		w.cells[w.index(w.head)] = cell{}
	}
}

// payload is the sum over both directions and the newest n intervals up to at.
func (w *window) payload(at int64, n int) (sum uint64) {
	w.advance(at)
	if n >= len(w.cells) {
		for i := range w.cells {
			sum += w.cells[i].payload[0] + w.cells[i].payload[1]
		}
		return sum
	}
	for i := range int64(n) {
		c := &w.cells[w.index(w.head-i)]
		sum += c.payload[0] + c.payload[1]
	}
	return sum
}

// steady reports whether there was payload in n of the newest n+1 intervals up to at, a tenth of an even share at the least.
// The report of the very newest may still be to come.
func (w *window) steady(at int64, n int) bool {
	least, some := w.payload(at, n+1)/uint64(10*n), 0
	for i := range int64(n) + 1 {
		c := &w.cells[w.index(w.head-i)]
		if sum := c.payload[0] + c.payload[1]; sum > least {
			some++
		}
	}
	return some >= n
}

// sum is the sum over the whole window that ends at at.
func (w *window) sum(at int64) (total cell) {
	w.advance(at)
	for i := range w.cells {
		for dir := range 2 {
			total.payload[dir] += w.cells[i].payload[dir]
			total.offered[dir] += w.cells[i].offered[dir]
			total.delivered[dir] += w.cells[i].delivered[dir]
		}
	}
	return total
}

// index is the cell of interval at, which is never negative: the newest is at least 0 and a window reaches back by less
// than a turn.
func (w *window) index(at int64) int {
	n := int64(len(w.cells))
	return int((at%n + n) % n)
}
