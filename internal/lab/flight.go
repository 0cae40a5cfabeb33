package lab

import "time"

// parcel is a packet on its way.
type parcel struct {
	due    time.Time
	order  uint64 // of acceptance, among equals
	packet []byte
	lane   *lane
	to     int // descriptor of the far router's tunnel
}

func (p parcel) before(q parcel) bool {
	return p.due.Before(q.due) || p.due.Equal(q.due) && p.order < q.order
}

// flight holds the packets on their way, earliest first: a binary heap without the boxing of container/heap.
type flight struct {
	heap  []parcel
	count uint64
}

func (f *flight) len() int { return len(f.heap) }

// next is when the earliest packet is due.
func (f *flight) next() (time.Time, bool) {
	if len(f.heap) == 0 {
		return time.Time{}, false
	}
	return f.heap[0].due, true
}

func (f *flight) add(p parcel) {
	p.order = f.count
	f.count++
	f.heap = append(f.heap, p)
	for i := len(f.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !f.heap[i].before(f.heap[up]) {
			return
		}
		f.heap[i], f.heap[up] = f.heap[up], f.heap[i]
		i = up
	}
}

// take removes the earliest packet; there must be one.
func (f *flight) take() parcel {
	first, last := f.heap[0], len(f.heap)-1
	f.heap[0] = f.heap[last]
	f.heap[last] = parcel{}
	f.heap = f.heap[:last]
	for i := 0; ; {
		least := i
		for _, down := range [2]int{2*i + 1, 2*i + 2} {
			if down < last && f.heap[down].before(f.heap[least]) {
				least = down
			}
		}
		if least == i {
			return first
		}
		f.heap[i], f.heap[least] = f.heap[least], f.heap[i]
		i = least
	}
}
