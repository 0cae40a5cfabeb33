package e2e

import (
	"strings"
	"testing"
	"time"
)

// Payload is sealed from host to host under traffic, over the star and over a direct link: no packet is lost by switching it
// on or off, and large TCP segments, which are cut before they are sealed, arrive whole.
func TestPayloadIsSealedFromHostToHost(t *testing.T) {
	w := start(t, `
name: sealed
sites: [{name: here}]
hosts: [{name: host1, site: here}, {name: host2, site: here}, {name: proxy, site: here}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`)
	w.vnet("proxy", "adapt", "observe")
	w.run("vm1", "ping", "-c", "1", "-W", "2", w.Address("vm2").String())
	s := w.stream("vm1", "vm2", 1000)
	if out := w.vnet("proxy", "seal", "on", "host1", "host2"); !strings.Contains(out, "host1") || !strings.Contains(out, "host2") {
		t.Errorf("told: %s", out)
	}
	w.eventually(10*time.Second, "both seal", func() bool { return w.sealed("host1", "host2") && w.sealed("host2", "host1") })
	talk := w.talk("vm1", "vm2")
	time.Sleep(time.Second)
	w.vnet("host1", "link", "add", "host2")
	w.vnet("host1", "rule", "add", "from any src any dst "+w.mac("vm2")+" to link:host2")
	w.vnet("host2", "rule", "add", "from any src any dst "+w.mac("vm1")+" to link:host1")
	time.Sleep(time.Second)
	status := w.sealedPeer("host1", "host2")
	if status.FramesSealed < 500 || status.FramesOpened < 5 || status.FramesRefused > 0 {
		t.Errorf("host1 says: %+v", status)
	}
	talk.resumes(time.Second, "a direct link")
	w.vnet("proxy", "seal", "off")
	w.eventually(10*time.Second, "nothing is sealed", func() bool { return !w.sealed("host1", "host2") && !w.sealed("host2", "host1") })
	talk.resumes(time.Second, "the seal is off")
	sent, report := s.stop()
	if sent < 2000 || report.LostCount > 0 || report.Duplicates > 0 {
		t.Errorf("of %d numbered packets %d were lost and %d came twice", sent, report.LostCount, report.Duplicates)
	}
}

type sealedPeer struct {
	Name                                      string
	Ready                                     bool
	FramesSealed, FramesOpened, FramesRefused uint64 `json:",string"`
}

// sealedPeer is what a host says of its seal with another.
func (w *world) sealedPeer(at, peer string) (found sealedPeer) {
	for _, p := range ask[struct{ Status struct{ Sealed []sealedPeer } }](w, at, "status").Status.Sealed {
		if p.Name == peer {
			found = p
		}
	}
	return found
}

func (w *world) sealed(at, peer string) bool { return w.sealedPeer(at, peer).Ready }
