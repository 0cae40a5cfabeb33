package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/vttif"
)

func appSetCommand(c *cli) *cobra.Command {
	req := &api.SetInferenceRequest{}
	var rate, high, low, floor float64
	var global bool
	var window, add, settle, remove, over time.Duration
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Show or change what the inference works by; a change starts it anew",
		Long: `Show or change what the inference works by. Nobody has to: the defaults follow the application and the overlay. --seed takes
the parameters of the paper: one window, one threshold, the largest entry of the whole matrix as reference, no damping.`,
		Example: `  vnet app set --seed --window 2s --rate 20
  vnet app set --defaults`,
		Args: cobra.NoArgs,
		RunE: c.do(func(cmd *cobra.Command, _ []string) error {
			m, given := &api.Inference{}, req.GetSeed() || req.GetDefaults()
			for name, set := range map[string]func(){
				"rate":         func() { m.UpdateRateHz = &rate },
				"threshold":    func() { m.High = &high },
				"low":          func() { m.Low = &low },
				"floor":        func() { m.FloorBps = &floor },
				"global":       func() { m.Global = &global },
				"window":       func() { m.Window = durationpb.New(window) },
				"add-after":    func() { m.AddAfter = durationpb.New(add) },
				"settle":       func() { m.Settle = durationpb.New(settle) },
				"remove-after": func() { m.RemoveAfter = durationpb.New(remove) },
				"group-over":   func() { m.GroupOver = durationpb.New(over) },
			} {
				if cmd.Flags().Changed(name) {
					set()
					given = true
				}
			}
			if !given {
				resp, err := ask(cmd, c.daemon().GetApp, &api.GetAppRequest{Node: c.node})
				if err != nil {
					return err
				}
				return c.show(resp.GetApp().GetInference(), func(t *table) { printInference(t, resp.GetApp().GetInference()) })
			}
			req.Node, req.Inference = c.node, m
			resp, err := ask(cmd, c.daemon().SetInference, req)
			if err != nil {
				return err
			}
			return c.show(resp, func(t *table) { printInference(t, resp.GetInference()) })
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&req.Seed, "seed", false, "begin from the seed's parameters")
	f.BoolVar(&req.Defaults, "defaults", false, "begin from the defaults")
	f.Float64Var(&rate, "rate", 0, "reports a second from each node, up to 20")
	f.DurationVar(&window, "window", 0, "over which traffic is summed to be judged: the seed's smoothing interval")
	f.Float64Var(&high, "threshold", 0, "share of the strongest beside it that an edge must have to enter")
	f.Float64Var(&low, "low", 0, "share below which it may leave")
	f.Float64Var(&floor, "floor", 0, "bit/s below which nothing is an edge; negative is none")
	f.BoolVar(&global, "global", false, "judge against the largest entry of the whole matrix, with one threshold")
	f.DurationVar(&add, "add-after", 0, "an edge is published at most this long after its traffic began; negative is at once")
	f.DurationVar(&settle, "settle", 0, "earlier, when no further edge came for this long; negative is at once")
	f.DurationVar(&remove, "remove-after", 0, "an edge leaves after this long without traffic while its group is active; negative is at once")
	f.DurationVar(&over, "group-over", 0, "a group is over after this long in silence")
	return cmd
}

func printInference(t *table, m *api.Inference) {
	t.row("RATE", "WINDOW", "THRESHOLD", "LOW", "FLOOR", "REFERENCE", "ADD AFTER", "SETTLE", "REMOVE AFTER", "GROUP OVER")
	reference := "group"
	if m.GetGlobal() {
		reference = "global"
	}
	t.row(fmt.Sprintf("%g/s", m.GetUpdateRateHz()), duration(m.GetWindow()), m.GetHigh(), m.GetLow(), bitrate(m.GetFloorBps()), reference,
		duration(m.GetAddAfter()), duration(m.GetSettle()), duration(m.GetRemoveAfter()), duration(m.GetGroupOver()))
}

// goalText is one line about how fast a group works; empty when nothing is known.
func goalText(g *api.Goal) string {
	text := ""
	if g.GetPeriod() != nil {
		if g.GetConfidence() < vttif.SureEnough {
			text = "perhaps "
		}
		text += fmt.Sprintf("iterations of %s (confidence %.2f", duration(g.GetPeriod()), g.GetConfidence())
		if g.GetTrend() != 0 {
			text += fmt.Sprintf(", %+.1f %% in the last minute", 100*g.GetTrend())
		}
		text += "); "
	}
	if g.GetRequestsPerSecond() > 0 {
		text += fmt.Sprintf("%.4g requests/s with a round trip of %s; ", g.GetRequestsPerSecond(), round(time.Duration(g.GetRoundTripUs())*time.Microsecond))
	}
	if g.GetDeliveredBps() > 0 {
		text += bitrate(g.GetDeliveredBps()) + " arrive; "
	}
	if text == "" {
		return ""
	}
	return text[:len(text)-2]
}
