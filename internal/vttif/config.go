package vttif

import (
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// Config sets an Inferrer; the zero value is the default. A negative duration means none.
type Config struct {
	UpdateRate  float64       // reports a second from each node; default 10, at most 100
	Window      time.Duration // over which traffic is summed to be judged; default 1 s
	High        float64       // share of the reference an edge must have to enter; default DefaultHigh
	Low         float64       // share below which it may leave; default DefaultLow, at most High
	Floor       float64       // bytes/s below which nothing is an edge; default DefaultFloor; negative: none
	AddAfter    time.Duration // an edge is published at most this long after its traffic started; default 500 ms
	Settle      time.Duration // earlier, when the set of new edges has stood still for this long; default 200 ms
	RemoveAfter time.Duration // an edge leaves after this long without traffic while its group is active; default 10 s
	GroupOver   time.Duration // a group silent for this long is over; default 3 min
	Global      bool          // judge against the largest entry of the whole matrix, as the seed does (§2.2), with one threshold: High
	MaxPairs    int           // pairs of MACs remembered; default 131,072, about 170 MB when full at the default window and rate, a quarter of them from one node; fewer where a window has more than 20 reports
	MaxNodes    int           // nodes whose report numbers are remembered; default 4,096
	MaxPulses   int           // directed pairs whose milliseconds are remembered, 20 KiB each; default 1,024; negative: none
	// LAN tells which MACs live on the Proxy's LAN; nil: none. Called during Step.
	LAN func(ether.MAC) bool
}

const (
	// DefaultHigh: an edge enters at a tenth of the strongest edge at its ends. The seed found the result insensitive to the
	// threshold (Figure 7); a tenth is the pruning its authors used, and unfairness among TCP flows on one link stays within it.
	DefaultHigh = 0.10
	// DefaultLow: it may leave below a twenty-fifth, so a rate must fall to 0.4 of what let it in before its time runs.
	DefaultLow = 0.04
	// DefaultFloor in bytes/s: a ping a second is 0.2 kB/s both ways, ssh keystrokes 1 kB/s, ARP and DHCP less; the slowest
	// application for which a direct link is worth having sends more than this.
	DefaultFloor = 8 << 10

	defaultUpdateRate  = 10          // Hz: an edge is known within half a second
	maxUpdateRate      = 100         // Hz; the seed's daemons managed 20
	defaultWindow      = time.Second // the seed's best settle time (§2.2)
	defaultAddAfter    = 500 * time.Millisecond
	defaultSettle      = 200 * time.Millisecond // two reports of every node
	defaultRemoveAfter = 10 * time.Second
	defaultGroupOver   = 3 * time.Minute
	defaultMaxPairs    = 1 << 17 // 10,000 VMs that talk to 13 others each
	fullSlots          = 20      // intervals in a window up to which there is room for all of them; longer windows leave room for fewer
	leastMaxPairs      = 4096
	defaultMaxPulses   = 1024 // the neighbours of some hundred VMs, in 20 MiB
	defaultMaxNodes    = 4096 // four times the largest overlay planned for
	// fastSlots is the second, short window in reports: an edge beside older ones is seen at its full rate after three
	// reports instead of a whole window, and every node has reported at least twice in it.
	fastSlots = 3
	// maxSlots bounds the memory of a pair whatever window is asked for.
	maxSlots = 1024
	// removeBounds is how many configuration-time bounds an edge that is no longer used stays: a change
	// must not be taken back within the time it takes to make and judge it.
	removeBounds = 10
)

// Seed is the paper's VTTIF: one window, one threshold of the largest entry, no damping besides the window.
func Seed(window time.Duration, threshold float64) Config {
	return Config{
		Window: window, High: threshold, Low: threshold, Floor: -1, Global: true,
		AddAfter: -1, Settle: -1, RemoveAfter: -1,
	}
}

// Cooked is the configuration with every default filled in.
func (c Config) Cooked() Config {
	if c.UpdateRate <= 0 {
		c.UpdateRate = defaultUpdateRate
	}
	c.UpdateRate = min(c.UpdateRate, maxUpdateRate)
	c.Window = orDefault(c.Window, defaultWindow)
	c.AddAfter = orDefault(c.AddAfter, defaultAddAfter)
	c.Settle = orDefault(c.Settle, defaultSettle)
	c.RemoveAfter = orDefault(c.RemoveAfter, defaultRemoveAfter)
	c.GroupOver = orDefault(c.GroupOver, defaultGroupOver)
	if c.High <= 0 {
		c.High = DefaultHigh
	}
	if c.Low <= 0 {
		c.Low = DefaultLow
	}
	c.Low = min(c.Low, c.High)
	if c.Global {
		c.Low = c.High
	}
	if c.Floor == 0 {
		c.Floor = DefaultFloor
	}
	c.Floor = max(c.Floor, 0)
	if c.MaxPairs <= 0 {
		c.MaxPairs = max(defaultMaxPairs*min(fullSlots, c.slots())/c.slots(), leastMaxPairs)
	}
	if c.MaxNodes <= 0 {
		c.MaxNodes = defaultMaxNodes
	}
	if c.MaxPulses == 0 {
		c.MaxPulses = defaultMaxPulses
	}
	if c.LAN == nil {
		c.LAN = func(ether.MAC) bool { return false }
	}
	return c
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return max(d, 0)
}

// Interval is the time between two reports of a node.
func (c Config) Interval() time.Duration { return c.Cooked().slot() }

// slot is the width of one cell of a window: the time between two reports.
func (c Config) slot() time.Duration { return time.Duration(float64(time.Second) / c.UpdateRate) }

// slots is how many cells a window has.
func (c Config) slots() int {
	least := fastSlots + 1 // what window.steady looks at
	if c.Global {
		least = 1 // the seed has one window
	}
	return min(max(int((c.Window+c.slot()-1)/c.slot()), least), maxSlots)
}
