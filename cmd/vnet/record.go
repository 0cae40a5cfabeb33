package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	api "github.com/virtuoso-vnet/virtuoso/api/vnet/v1"
)

func recordCommand(c *cli) *cobra.Command {
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "record FILE",
		Short: "Record what inference and planner hear, and what they conclude, for vnet replay",
		Long: `Record what inference and planner hear, and what they conclude, until interrupted. The recording starts with an inference
that knows nothing, as after a restart of the Proxy; the Proxy's own goes on beside it. It runs on the Proxy's machine.`,
		Example: `  vnet traffic record today.trace --for 5m
  vnet replay today.trace`,
		Args: cobra.ExactArgs(1),
		RunE: c.do(func(cmd *cobra.Command, args []string) error {
			file, err := os.Create(args[0])
			if err != nil {
				return fmt.Errorf("cannot record: %w", err)
			}
			n, err := c.record(cmd, file, lasts)
			if closed := file.Close(); err == nil {
				err = closed
			}
			if err == nil {
				fmt.Fprintf(c.out, "recorded %d lines to %s\n", n, args[0])
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&lasts, "for", 0, "how long; 0 is until interrupted")
	return cmd
}

// record writes the lines of a recording until the user has enough.
func (c *cli) record(cmd *cobra.Command, file io.Writer, lasts time.Duration) (lines int, err error) {
	stream, err := c.daemon().RecordTraffic(cmd.Context(), &api.RecordTrafficRequest{Node: c.node})
	if err != nil {
		return 0, plain(err)
	}
	if lasts > 0 {
		defer time.AfterFunc(lasts, func() { stream.Close() }).Stop()
	}
	defer stream.Close()
	out := bufio.NewWriter(file)
	started := time.Now()
	for stream.Receive() {
		out.Write(stream.Msg().GetLine())
		if err := out.WriteByte('\n'); err != nil {
			return lines, fmt.Errorf("cannot record: %w", err)
		}
		lines++
		if lasts > 0 && time.Since(started) >= lasts {
			break
		}
	}
	if err := out.Flush(); err != nil {
		return lines, fmt.Errorf("cannot record: %w", err)
	}
	if cmd.Context().Err() != nil || lasts > 0 && time.Since(started) >= lasts {
		return lines, nil
	}
	return lines, plain(stream.Err())
}
