package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func trafficCommand(c *cli) *cobra.Command {
	var heat, watch bool
	var by string
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "The traffic matrix: what VMs offered to each other, and what arrived",
		Long: `The traffic matrix. OFFERED is what a VM sent to another in the last window, in bits of Ethernet frames a second, DELIVERED what came out
at the other; FRAMES and ARRIVED are their totals in frames. More may arrive than was sent: a broadcast reaches several, and large
frames of TCP are cut to what the path takes.`,
		Example: `  vnet traffic --sort offered
  vnet traffic --map --watch
  vnet traffic record today.trace`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			order, ok := trafficOrders()[by]
			if !ok {
				return usagef("cannot sort by %q: give one of %s", by, strings.Join(trafficColumns(), ", "))
			}
			return c.repeat(cmd, watch, func() error {
				resp, err := ask(cmd, c.daemon().GetTraffic, &api.GetTrafficRequest{Node: c.node})
				if err != nil {
					return err
				}
				slices.SortStableFunc(resp.GetEntries(), order)
				return c.show(resp, func(t *table) {
					if heat {
						printHeat(t, resp)
					} else {
						printTraffic(t, resp)
					}
				})
			})
		}),
	}
	cmd.Flags().BoolVar(&heat, "map", false, "as a map: a row for each sender, a column for each receiver, darker is more")
	cmd.Flags().StringVar(&by, "sort", "src", "`column` to sort by: "+strings.Join(trafficColumns(), ", "))
	complete(cmd, "sort", trafficColumns)
	cmd.AddCommand(recordCommand(c))
	return watching(cmd, &watch)
}

// trafficColumns are what --sort takes: names ascend, numbers descend.
func trafficColumns() []string {
	return []string{"src", "dst", "offered", "delivered", "frames", "lost"}
}

func trafficOrders() map[string]func(a, b *api.TrafficEntry) int {
	return map[string]func(a, b *api.TrafficEntry) int{
		"src": func(a, b *api.TrafficEntry) int {
			return cmp.Or(cmp.Compare(source(a), source(b)), cmp.Compare(target(a), target(b)))
		},
		"dst": func(a, b *api.TrafficEntry) int {
			return cmp.Or(cmp.Compare(target(a), target(b)), cmp.Compare(source(a), source(b)))
		},
		"offered":   func(a, b *api.TrafficEntry) int { return cmp.Compare(b.GetOfferedBps(), a.GetOfferedBps()) },
		"delivered": func(a, b *api.TrafficEntry) int { return cmp.Compare(b.GetDeliveredBps(), a.GetDeliveredBps()) },
		"frames":    func(a, b *api.TrafficEntry) int { return cmp.Compare(b.GetOfferedFrames(), a.GetOfferedFrames()) },
		"lost": func(a, b *api.TrafficEntry) int {
			bytes := cmp.Compare(missing(b.GetOfferedBytes(), b.GetDeliveredBytes()), missing(a.GetOfferedBytes(), a.GetDeliveredBytes()))
			return cmp.Or(bytes, cmp.Compare(missing(b.GetOfferedFrames(), b.GetDeliveredFrames()), missing(a.GetOfferedFrames(), a.GetDeliveredFrames())))
		},
	}
}

func source(e *api.TrafficEntry) string { return cmp.Or(e.GetSrc(), e.GetSrcMac()) }
func target(e *api.TrafficEntry) string { return cmp.Or(e.GetDst(), e.GetDstMac()) }

// missing is what was offered and not delivered; a group frame is delivered more than once. It is asked of bytes first: large
// frames of TCP that are cut finer arrive as several percent more frames, but only a few tenths of a percent more bytes.
func missing(offered, delivered uint64) uint64 { return offered - min(offered, delivered) }

func printTraffic(t *table, resp *api.GetTrafficResponse) {
	t.row("SRC", "DST", "OFFERED", "DELIVERED", "FRAMES", "ARRIVED")
	for _, e := range resp.GetEntries() {
		t.row(source(e), target(e), bitrate(e.GetOfferedBps()), bitrate(e.GetDeliveredBps()), e.GetOfferedFrames(), e.GetDeliveredFrames())
	}
	if n := resp.GetOther().GetOfferedFrames() + resp.GetOther().GetDeliveredFrames(); n > 0 {
		t.line("and %d frames between pairs that found no room: a flood of addresses", n)
	}
}

const (
	// heatMost is the largest map: what fits a terminal. The busiest are shown.
	heatMost = 32
	// heatWidth of a cell in characters.
	heatWidth = 3
)

// heatShades from nothing to the most, each half the one after it or less.
func heatShades() []rune { return []rune{'·', '░', '▒', '▓', '█'} }

// printHeat draws the matrix: rows send, columns receive; a shade is a factor of four.
func printHeat(t *table, resp *api.GetTrafficResponse) {
	names := busiest(resp.GetEntries())
	at := map[string]int{}
	for i, name := range names {
		at[name] = i
	}
	rates := make([]float64, len(names)*len(names))
	top := 0.0
	for _, e := range resp.GetEntries() {
		i, from := at[source(e)]
		j, to := at[target(e)]
		if from && to {
			rates[i*len(names)+j] += e.GetOfferedBps()
			top = max(top, rates[i*len(names)+j])
		}
	}
	width := 0
	for _, name := range names {
		width = max(width, len(name))
	}
	for i, name := range names {
		row := ""
		for j := range names {
			row += strings.Repeat(string(shade(rates[i*len(names)+j], top)), heatWidth-1) + " "
		}
		t.line("%3d %-*s  %s", i+1, width, name, strings.TrimRight(row, " "))
	}
	column := ""
	for j := range names {
		column += digits(j+1) + " "
	}
	t.line("%*s  %s", width+4, "", strings.TrimRight(column, " "))
	t.line("rows send, columns receive; █ is up to %s, each lighter shade a quarter of that", bitrate(top))
}

// digits is a number as wide as a cell.
func digits(n int) string {
	text := "0" + string(rune('0'+n%10))
	if n >= 10 {
		text = string(rune('0'+n/10)) + text[1:]
	}
	return text
}

// shade is how dark a rate is beside the largest.
func shade(rate, top float64) rune {
	shades := heatShades()
	if rate <= 0 || top <= 0 {
		return ' '
	}
	i := len(shades) - 1
	for ; i > 0 && rate <= top/4; i-- {
		top /= 4
	}
	return shades[i]
}

// busiest are those that send or receive, by name; if they are too many, those that do so most.
func busiest(entries []*api.TrafficEntry) []string {
	sum := map[string]float64{}
	for _, e := range entries {
		sum[source(e)] += e.GetOfferedBps()
		sum[target(e)] += e.GetOfferedBps()
	}
	var names []string
	for name := range sum {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sum[b], sum[a]), cmp.Compare(a, b)) })
	names = names[:min(len(names), heatMost)]
	slices.Sort(names)
	return names
}
