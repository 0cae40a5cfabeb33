package e2e

import (
	"testing"
	"time"
)

// TestTagsArePreserved: 802.1Q tags go through the overlay unchanged, between TAPs and through AF_PACKET, whatever the kernels at
// both ends know of VLANs.
func TestTagsArePreserved(t *testing.T) {
	w := startLAN(t, lanBehindProxy, "--lan", "eth1")
	w.settled(10*time.Second, "the LAN's port forwards", map[string]string{"eth1": portUp}, func() map[string]shownPort { return w.ports("proxy") })
	for _, way := range [][2]string{{"vm1", "vm2"}, {"vm1", "printer"}, {"printer", "vm2"}} {
		from, to := way[0], way[1]
		t.Run(from+" to "+to, func(t *testing.T) {
			w := &world{T: t, Lab: w.Lab, Daemons: w.Daemons}
			l := w.look(to)
			w.role(from, "frame-send", "--mark", "plain", "--count", "3")
			w.role(from, "frame-send", "--mark", "vlan", "--vlan", "123", "--count", "3")
			w.role(from, "frame-send", "--mark", "priority", "--vlan", "40961", "--count", "3") // priority 5, VLAN 1
			w.role(from, "frame-send", "--mark", "zero", "--vlan", "0", "--count", "3")
			got := l.report().Marked
			for mark, count := range map[string]int{"plain": 3, "vlan@123": 3, "priority@40961": 3, "zero@0": 3} {
				if got[mark] != count {
					t.Errorf("%s came %d times of %d: %v", mark, got[mark], count, got)
				}
			}
		})
	}
}
