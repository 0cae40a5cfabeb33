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

// commands is the one place where the commands of the program are listed; its help sorts them.
func commands(c *cli) []*cobra.Command {
	return []*cobra.Command{
		proxyCommand(c),
		hostCommand(c),
		labCommand(c),
		demoCommand(c),
		patternsCommand(c),
		joinCommand(c),
		leaveCommand(c),
		sealCommand(c),
		doctorCommand(c),
		statusCommand(c),
		nodesCommand(c),
		portsCommand(c),
		interfacesCommand(c),
		linksCommand(c),
		linkCommand(c),
		portCommand(c),
		rulesCommand(c),
		ruleCommand(c),
		checkCommand(c),
		fmtCommand(c),
		generateCommand(c),
		showCommand(c),
		traceCommand(c),
		diffCommand(c),
		applyCommand(c),
		launchCommand(c),
		manCommand(c),
		boundCommand(c),
		tokenCommand(c),
		caCommand(c),
		clientCommand(c),
		backupCommand(c),
		restoreCommand(c),
		appCommand(c),
		trafficCommand(c),
		replayCommand(c),
		experimentCommand(c),
		adaptCommand(c),
		explainCommand(c),
		offloadCommand(c),
		countersCommand(c),
		eventsCommand(c),
		versionCommand(c),
	}
}
