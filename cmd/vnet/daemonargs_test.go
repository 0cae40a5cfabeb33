package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestAUnitForgetsNoFlag: each flag of a daemon is in the command line of its unit, or in the unit, or refused.
func TestAUnitForgetsNoFlag(t *testing.T) {
	values := map[string]string{"sockets": "3", "clamp-mss": "1360", "carrier": "tcp"}
	var all daemonFlags
	cmd := &cobra.Command{}
	all.add(cmd)
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		var f daemonFlags
		one := &cobra.Command{}
		f.add(one)
		value := "15" // which is a niceness, and a word
		if flag.Value.Type() == "bool" {
			value = "true"
		}
		if v, ok := values[flag.Name]; ok {
			value = v
		}
		if err := one.Flags().Set(flag.Name, value); err != nil {
			t.Fatal(err)
		}
		argv, unit := f.args(), ""
		if nice, asked, err := niceness(f.nice); asked && err == nil {
			unit = unitText("lab", nice, argv)
		}
		switch err := f.unfit(); {
		case err != nil && strings.Contains(err.Error(), "--"+flag.Name+":"):
		case err != nil:
			t.Errorf("--%s is refused: %v", flag.Name, err)
		case strings.Contains(unit, "\nNice=15\nLimitNICE=+15\n"):
		case !slices.Contains(argv, "--"+flag.Name) || value != "true" && !slices.Contains(argv, value):
			t.Errorf("of --%s %s the unit has %q", flag.Name, value, argv)
		}
	})
	if err := (&daemonFlags{nice: "high"}).unfit(); err == nil {
		t.Error("a unit has a niceness that is none")
	}
}
