// Package patterns is the bulk-synchronous benchmark: one rank that exchanges verified messages with its
// neighbours over plain TCP, as a schedule of workload says.
//
// It does not know the overlay: it has addresses and sockets like any application, and sees a change of the
// network only in its iteration times.
package patterns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
)

// Exit codes of Main.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// Main runs one rank and returns the exit code: 0 when all went well or the rank was asked to stop by
// SIGINT or SIGTERM, 1 for a failure, 2 for a wrong command line. args come without the program's name.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return mainWith(ctx, args, stdout, stderr)
}

// mainWith is Main with its signal as a context.
func mainWith(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args, stdout)
	switch {
	case errors.Is(err, errListed):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "patterns: %v\nhint: patterns --help shows all options\n", err)
		return exitUsage
	}
	out := newReporter(&cfg, stdout, stderr)
	err = run(ctx, &cfg, out)
	if errors.Is(err, errInterrupted) {
		out.finish(true, nil)
		return exitOK
	}
	out.finish(false, err)
	if err != nil {
		fmt.Fprintf(stderr, "patterns: rank %d: %v\n", cfg.rank, err)
		return exitFailure
	}
	return exitOK
}
