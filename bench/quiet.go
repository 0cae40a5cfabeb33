package bench

import (
	"fmt"
	"os"
	"time"
)

const (
	// idleShare is how much of the processors must have had nothing to do for the machine to count as quiet: a lab that
	// only beats its hearts takes a few hundredths.
	idleShare = 0.85
	// idleTime is how long it must have been so.
	idleTime = 250 * time.Millisecond
	// idlePatience is how long Quiet waits for it.
	idlePatience = 10 * time.Second
)

// Quiet waits, before something is measured, until the machine has nothing else to do, and says whether it came to that.
func Quiet() (quiet bool) {
	for end := time.Now().Add(idlePatience); time.Now().Before(end); {
		idle, all := processors()
		time.Sleep(idleTime)
		idleNow, allNow := processors()
		if allNow > all && (idleNow-idle)/(allNow-all) >= idleShare {
			return true
		}
	}
	return false
}

// processors is the time that the processors had nothing to do, and all of their time, in ticks since the machine started.
func processors() (idle, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	var user, nice, system, rest, wait, irq, soft, stolen float64
	if _, err := fmt.Sscanf(string(text), "cpu %g %g %g %g %g %g %g %g", &user, &nice, &system, &rest, &wait, &irq, &soft, &stolen); err != nil {
		return 0, 0
	}
	return rest + wait, user + nice + system + rest + wait + irq + soft + stolen
}
