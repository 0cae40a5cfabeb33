package main

import (
	"bytes"
	"io"
	"time"

	"github.com/spf13/cobra"
)

const (
	// watchEvery is how often --watch looks again: as often as rates change visibly.
	watchEvery = time.Second
	// clearScreen puts the cursor at the top left and wipes what is below.
	clearScreen = "\x1b[H\x1b[2J"
)

// watching gives a command the flag --watch.
func watching(cmd *cobra.Command, watch *bool) *cobra.Command {
	cmd.Flags().BoolVar(watch, "watch", false, "again every second, until interrupted")
	return cmd
}

// repeat shows once, or again and again; each picture appears whole.
func (c *cli) repeat(cmd *cobra.Command, watch bool, show func() error) error {
	if !watch {
		return show()
	}
	out := c.out
	defer func() { c.out = out }()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		var page bytes.Buffer
		if c.output == "table" {
			page.WriteString(clearScreen)
		}
		c.out = &page
		err := show()
		if cmd.Context().Err() != nil { // the user has seen enough
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(out, &page); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-cmd.Context().Done():
			return nil
		}
	}
}
