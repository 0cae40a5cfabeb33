package overlay

import "fmt"

// Rank is the strength of a rule by its qualifiers; the higher wins. The numbers are those of the seed's own code line
// (user-level VNET), except that default rules rank below any/any, as the seed's text has it:
//
//	8  exact/exact
//	7  exact/not, not/exact
//	6  exact/any, any/exact
//	5  any/not, not/any
//	3  any/any
//	2  exact/none (default)
//	1  not/none
//	0  any/none
//
// Among default rules the seed knows only exact sources; the more exact source is the stronger here, as everywhere else.
func Rank(src, dst Match) (int, error) {
	refuse := func(why string) (int, error) {
		return 0, fmt.Errorf("cannot use rule \"src %s dst %s\": %s", src, dst, why)
	}
	switch {
	case src.Kind > None || dst.Kind > None:
		return refuse("an address is MAC, not MAC, any or (as destination) none")
	case src.Kind == None:
		return refuse("none is allowed only as destination (a default rule); use \"any\" as source")
	case src.Kind == Not && dst.Kind == Not:
		return refuse("not/not never had a meaning in a forwarding table; use \"any\" on one side")
	case src.names() && src.MAC.IsZero() || dst.names() && dst.MAC.IsZero():
		return refuse("00:00:00:00:00:00 is nobody's address; use \"any\"")
	case dst.Kind == Exact && dst.MAC.IsLinkLocal():
		return refuse("01:80:c2:00:00:0x stays on its wire (IEEE 802.1Q §8.6.3) and is never forwarded")
	}
	return RankOf(src.Kind, dst.Kind), nil
}

// MaxRank is the rank of exact/exact.
const MaxRank = 8

// RankOf is Rank by the qualifiers alone; -1 when they do not go together.
func RankOf(src, dst MatchKind) int {
	if src >= None || dst > None {
		return -1
	}
	return [3][4]int{
		Exact: {Exact: MaxRank, Not: 7, Any: 6, None: 2},
		Not:   {Exact: 7, Not: -1, Any: 5, None: 1},
		Any:   {Exact: 6, Not: 5, Any: 3, None: 0},
	}[src][dst]
}
