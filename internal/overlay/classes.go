package overlay

import (
	"fmt"
	"maps"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// class stands for all frames that no rule tells apart: each address is one that rules mention, or any other.
type class struct {
	src, dst           ether.MAC // what stands for them
	otherSrc, otherDst bool      // an address that no rule mentions
}

// String is for the user: "src 02:… dst other".
func (c class) String() string {
	text := func(m ether.MAC, other bool) string {
		if other {
			return "other"
		}
		return m.String()
	}
	return "src " + text(c.src, c.otherSrc) + " dst " + text(c.dst, c.otherDst)
}

// ClassOf is the class of the frames from one VM to another, as a Cycle names it.
func ClassOf(src, dst ether.MAC) string { return class{src: src, dst: dst}.String() }

// MaxKinds is how many kinds of frames the rules of an overlay may tell apart: each is looked at by itself, in some microseconds. Rules
// for each pair of 700 VMs stay below; thousands of rules for sources beside thousands for destinations do not.
const MaxKinds = 500_000

// Kinds is an error when the rules of the overlays tell apart more kinds of frames than can be looked at.
func Kinds(overlays ...*Overlay) error {
	var rules []Rule
	flood := true
	for _, o := range overlays {
		rules = append(rules, allRules(o)...)
		flood = flood && o.Flood
	}
	n := 0
	eachClass(rules, flood, func(class) bool {
		n++
		return n <= MaxKinds
	})
	if n > MaxKinds {
		return fmt.Errorf("cannot look through these rules: they tell apart more than %d kinds of frames; write fewer rules that leave one of the two addresses open", MaxKinds)
	}
	return nil
}

// classesOf are the classes that the rules tell apart.
func classesOf(rules []Rule, flood bool) (all []class) {
	eachClass(rules, flood, func(c class) bool {
		all = append(all, c)
		return true
	})
	return all
}

// eachClass yields the classes that the rules tell apart, until it is told false. Sources count only where some rule for that destination asks for them,
// so that hundreds of learned addresses do not make all their pairs. Group destinations are left out where the flood tree
// takes them all.
func eachClass(rules []Rule, flood bool, yield func(class) bool) {
	srcs, dsts := map[ether.MAC]bool{}, map[ether.MAC]bool{}
	byDst, wide := map[ether.MAC][]Rule{}, []Rule(nil)
	for _, r := range rules {
		if r.Src.names() {
			srcs[r.Src.MAC] = true
		}
		if r.Dst.names() {
			dsts[r.Dst.MAC] = true
		}
		if r.Dst.Kind == Exact {
			byDst[r.Dst.MAC] = append(byDst[r.Dst.MAC], r)
		} else {
			wide = append(wide, r)
		}
	}
	other := unused(srcs)
	add := func(c class) bool {
		asked := map[ether.MAC]bool{}
		for _, r := range slices.Concat(byDst[c.dst], wide) {
			if r.Src.names() && r.Dst.Covers(c.dst) {
				asked[r.Src.MAC] = true
			}
		}
		for _, src := range sorted(asked) {
			if !yield(class{src: src, dst: c.dst, otherDst: c.otherDst}) {
				return false
			}
		}
		c.src, c.otherSrc = other, true
		return yield(c)
	}
	for _, dst := range sorted(dsts) {
		if !dst.IsLinkLocal() && !(flood && dst.IsGroup()) && !add(class{dst: dst}) {
			return
		}
	}
	add(class{dst: unused(dsts), otherDst: true})
}

func sorted[V any](set map[ether.MAC]V) []ether.MAC {
	return slices.SortedFunc(maps.Keys(set), ether.MAC.Compare)
}

// unused is an address outside the set, to stand for all others.
func unused(set map[ether.MAC]bool) ether.MAC {
	m := ether.MAC{0: 0x02}
	for n := uint32(1); ; n++ {
		m[2], m[3], m[4], m[5] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		if !set[m] {
			return m
		}
	}
}
