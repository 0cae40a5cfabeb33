package lab

import (
	"fmt"
	"os"
)

// The parts a re-executed binary can play, told by its argument 0, so that `ps` shows them too.
const (
	leaderRole = "vnet-lab-leader"
	initRole   = "vnet-lab-init"
	probeRole  = "vnet-lab-probe"
)

// controlFD is where a child finds its control socket: the first descriptor behind standard error.
const controlFD = 3

// MaybeChild returns at once in an ordinary process. In one that the lab started from this binary as its leader,
// as the init of a namespace or as a preflight probe, it plays that part and never returns. Call it first thing
// in main, and in TestMain.
func MaybeChild() {
	var play func() error
	switch os.Args[0] {
	case leaderRole:
		play = leaderMain
	case initRole:
		play = initMain
	case probeRole:
		play = probeMain
	default:
		return
	}
	if err := play(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}
