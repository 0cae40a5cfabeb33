// Command vnet joins virtual machines, containers and computers at many sites into one Ethernet LAN that reshapes itself
// for the programs running on it.
//
// It holds no behaviour of its own: the daemon roles are assembled in internal/node and internal/proxy, and every other
// command asks a daemon through the API vnet.v1.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

func main() {
	lab.MaybeChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// chapter is a group of commands in the program's help.
type chapter struct {
	title    string
	commands []*cobra.Command
}

// chapters is the one place where the commands of the program are listed; its help sorts each chapter.
func chapters(c *cli) []chapter {
	return []chapter{
		{"Begin, and end:", []*cobra.Command{
			demoCommand(c), proxyCommand(c), joinCommand(c), hostCommand(c), launchCommand(c), leaveCommand(c), doctorCommand(c),
		}},
		{"Look at it:", []*cobra.Command{
			statusCommand(c), nodesCommand(c), portsCommand(c), interfacesCommand(c), linksCommand(c), rulesCommand(c),
			countersCommand(c), eventsCommand(c), traceCommand(c),
		}},
		{"The application on it, and adaptation:", []*cobra.Command{
			trafficCommand(c), appCommand(c), adaptCommand(c), explainCommand(c), boundCommand(c), replayCommand(c),
		}},
		{"Change it by hand:", []*cobra.Command{
			linkCommand(c), ruleCommand(c), portCommand(c), offloadCommand(c), sealCommand(c),
		}},
		{"Describe it in a file:", []*cobra.Command{
			showCommand(c), generateCommand(c), checkCommand(c), fmtCommand(c), diffCommand(c), applyCommand(c),
		}},
		{"Who belongs to it:", []*cobra.Command{
			tokenCommand(c), clientCommand(c), caCommand(c), backupCommand(c), restoreCommand(c),
		}},
		{"Try things out on one machine:", []*cobra.Command{labCommand(c), experimentCommand(c), patternsCommand(c)}},
		{"This program:", []*cobra.Command{manCommand(c), versionCommand(c)}},
	}
}

// addCommands gives the program its commands, chapter by chapter; help and completion are cobra's, and the last one's.
func addCommands(root *cobra.Command, c *cli) {
	for _, one := range chapters(c) {
		root.AddGroup(&cobra.Group{ID: one.title, Title: one.title})
		for _, cmd := range one.commands {
			cmd.GroupID = one.title
			root.AddCommand(cmd)
		}
		root.SetHelpCommandGroupID(one.title)
		root.SetCompletionCommandGroupID(one.title)
	}
}
