package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/patterns"
)

// patternsCommand is cmd/patterns inside this binary, so that the demo needs one file only.
func patternsCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:                "patterns",
		Short:              "The bulk-synchronous benchmark",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: c.do(func(_ *cobra.Command, args []string) error {
			if code := patterns.Main(args, c.out, c.err); code != exitOK {
				return codeError(code)
			}
			return nil
		}),
	}
}

// codeError ends the program with a code; what there was to say has been said.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
