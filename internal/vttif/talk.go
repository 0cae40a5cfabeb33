package vttif

import "time"

// talk watches one VM ask and another answer, in the milliseconds counted at the asking VM's node.
type talk struct {
	asking   bool  // the last bytes were the asker's
	askedAt  int64 // ms of them
	asks     uint64
	answered uint64
	together uint64 // milliseconds in which both sent: no conversation
	waited   uint64 // ms, from the last byte of a question to the first of its answer
}

// hear takes in one millisecond.
func (t *talk) hear(ms int64, asked, answered bool) {
	if asked && answered {
		t.together++
	}
	if answered && t.asking {
		t.answered++
		t.waited += uint64(max(ms-t.askedAt, 0))
		t.asking = false
	}
	if asked {
		if !t.asking {
			t.asks++
		}
		t.asking, t.askedAt = true, ms
	}
}

// talk follows the conversations of a report: what is offered at a node, and what comes back there.
func (in *Inferrer) talk(r *Report, from int64) {
	type both struct{ asked, answered [ringMs]bool }
	heard := map[Pair]*both{}
	var order []Pair
	of := func(p Pair) *both {
		if heard[p] == nil {
			heard[p] = &both{}
			order = append(order, p)
		}
		return heard[p]
	}
	for i := range r.Bins {
		b := &r.Bins[i]
		if !b.Delivered {
			at := of(b.Pair)
			eachLevel(b.Levels, r.BinsLen, func(ms int, _ float64) { at.asked[ms] = true })
		}
		at := of(Pair{Src: b.Dst, Dst: b.Src})
		eachLevel(b.Levels, r.BinsLen, func(ms int, _ float64) { at.answered[ms] = true })
	}
	for _, p := range order {
		f, dir := in.flow(p)
		if f == nil || f.never || !f.pulse[dir].of(r) {
			continue // who asks is somewhere else: another clock
		}
		for ms := range r.BinsLen {
			if h := heard[p]; h.asked[ms] || h.answered[ms] {
				f.talks[dir].hear(from+int64(ms), h.asked[ms], h.answered[ms])
			}
		}
	}
}

// talkSum is what the conversations of a group came to.
type talkSum struct {
	at       int64 // ms, of the asker's node
	answered uint64
	waited   uint64
}

const (
	// answersLeast is the share of questions that must be answered before the next, and togetherMost the most milliseconds,
	// by question, in which both sides send, for an exchange to be a conversation.
	answersLeast = 0.8
	togetherMost = 0.2
	// lopsided is how much more one side must say than the other, unless both are brief.
	lopsided = 2
	// brief in bytes is a question or answer of few frames.
	brief = 4096
	// talkLooks is over how many looks, a second apart, requests are counted.
	talkLooks = 10
)

// converse works out requests a second and the round trip.
func (o *goal) converse() {
	var sum talkSum
	for _, f := range o.flows {
		dir := 0
		if f.total[1].payload() < f.total[0].payload() {
			dir = 1 // who asks says less
		}
		t := &f.talks[dir]
		there, back := f.total[dir].payload(), f.total[1-dir].payload()
		if t.asks == 0 || f.pulse[dir] == nil || float64(t.answered) < answersLeast*float64(t.asks) ||
			float64(t.together) > togetherMost*float64(t.asks) || back < lopsided*there && back/t.asks > brief {
			continue
		}
		sum.answered += t.answered
		sum.waited += t.waited
		sum.at = max(sum.at, f.pulse[dir].until)
	}
	o.value.Requests, o.value.RoundTrip = 0, 0
	o.talks = append(o.talks, sum)
	o.talks = o.talks[max(0, len(o.talks)-talkLooks):]
	first := o.talks[0]
	if ms := sum.at - first.at; first.at > 0 && ms > 0 && sum.answered > first.answered {
		n := sum.answered - first.answered
		o.value.Requests = float64(n) / (time.Duration(ms) * time.Millisecond).Seconds()
		o.value.RoundTrip = time.Duration(sum.waited-min(sum.waited, first.waited)) * time.Millisecond / time.Duration(n)
	}
}
