package vttif

import (
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Course is what the edges of a group delivered, interval by interval: what a judge of a change compares. It begins with
// what was counted before the group was known, up to one window.
type Course struct {
	From  time.Time     // beginning of the first interval
	Slot  time.Duration // length of each
	Bytes []uint64      // delivered in each, oldest first; the interval that lasts is not among them
}

// course keeps the last arrivalCells intervals of a group, cumulative.
type course struct {
	sums   []uint64 // delivered up to the end of each interval; ring
	newest int64    // interval
	oldest int64    // its sum is the origin
	offset int64    // makes sums continue when the set of edges changes
	last   uint64   // sum over the edges when last noted
}

// begin fills in what the windows of the edges know of before.
func (c *course) begin(interval int64, flows []*flow) {
	c.sums = make([]uint64, arrivalCells)
	c.last = delivered(flows)
	c.newest = interval
	back := int64(0)
	for _, f := range flows {
		f.window.advance(interval)
		back = max(back, int64(len(f.window.cells)))
	}
	back = min(back, arrivalCells-1, interval)
	c.oldest = interval - back
	sum := c.last
	for i := interval; i >= c.oldest; i-- {
		c.sums[i%arrivalCells] = sum
		for _, f := range flows {
			if f.window.head-i < int64(len(f.window.cells)) && i <= f.window.head {
				cell := &f.window.cells[f.window.index(i)]
				sum -= min(sum, cell.delivered[0]+cell.delivered[1])
			}
		}
	}
}

// courseGap is how many intervals may pass between two looks: after more the group was gone meanwhile, and what its edges
// delivered then is not to count as now.
const courseGap = 10

// note adds what was delivered up to now.
func (c *course) note(interval int64, flows []*flow) {
	if interval-c.newest > courseGap {
		c.offset = 0
		c.begin(interval, flows)
		return
	}
	c.last = delivered(flows)
	sum := uint64(int64(c.last) + c.offset)
	for c.newest < interval {
		c.newest++
		c.sums[c.newest%arrivalCells] = sum
	}
	c.sums[interval%arrivalCells] = sum
	c.oldest = max(c.oldest, c.newest-arrivalCells+1)
}

// turn goes on with other edges.
func (c *course) turn(flows []*flow) {
	next := delivered(flows)
	c.offset += int64(c.last) - int64(next)
	c.last = next
}

func delivered(flows []*flow) (sum uint64) {
	for _, f := range flows {
		sum += f.total[0].DeliveredBytes + f.total[1].DeliveredBytes
	}
	return sum
}

// Course is that of the group of just these VMs, if it is known or was within the last minute.
func (in *Inferrer) Course(vms []ether.MAC) (Course, bool) {
	i := slices.IndexFunc(in.goals, func(o *goal) bool { return slices.Equal(o.vms, vms) })
	if i < 0 {
		return Course{}, false
	}
	c := &in.goals[i].course
	out := Course{From: in.epoch.Add(time.Duration(c.oldest+1) * in.slot), Slot: in.slot}
	for at := c.oldest + 1; at < c.newest; at++ {
		out.Bytes = append(out.Bytes, c.sums[at%arrivalCells]-c.sums[(at-1)%arrivalCells])
	}
	return out, true
}
