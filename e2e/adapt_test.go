package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// unevenHosts have no, one and five VMs.
const unevenHosts = `
name: uneven
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host0, site: cloud}
  - {name: host1, site: cloud}
  - {name: host5, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: vm1, host: host1}
  - {name: vm51, host: host5}
  - {name: vm52, host: host5}
  - {name: vm53, host: host5}
  - {name: vm54, host: host5}
  - {name: vm55, host: host5}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy, hosts: [host0, host1, host5]}
`

type counters struct {
	Total struct{ LinkFramesSent, LinkFramesReceived string }
}

func (c counters) linkFrames() int {
	sent, _ := strconv.Atoi(c.Total.LinkFramesSent)
	received, _ := strconv.Atoi(c.Total.LinkFramesReceived)
	return sent + received
}

func TestFramesBetweenVMsOfOneHostNeverLeaveIt(t *testing.T) {
	patient(t)
	w := start(t, unevenHosts)
	w.run("vm51", "ping", "-c", "1", "-W", "2", w.Address("vm52").String()) // ARP may take the flood tree
	w.run("vm1", "ping", "-c", "1", "-W", "2", w.Address("vm55").String())
	before := ask[counters](w, "host5", "counters").linkFrames()
	s := w.stream("vm51", "vm52", 500)
	time.Sleep(time.Second)
	sent, r := s.stop()
	after := ask[counters](w, "host5", "counters").linkFrames()
	if r.Received != sent || sent < 200 {
		t.Errorf("of %d packets %d came", sent, r.Received)
	}
	if strayed := after - before; strayed > 20 { // neighbour discovery of six VMs may go by
		t.Errorf("while %d packets went between two VMs of host5, %d frames crossed its links", sent, strayed)
	}
}

type adaptation struct {
	Adaptation struct{ Links []struct{ A, B string } }
}

func (a adaptation) links() []string {
	var all []string
	for _, l := range a.Adaptation.Links {
		all = append(all, l.A+"–"+l.B)
	}
	slices.Sort(all)
	return all
}

const threeHosts = `
name: three
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: host3, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: vm1, host: host1}
  - {name: vm2, host: host2}
  - {name: vm3, host: host3}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy}
`

func TestFastPathsFollowTheApplication(t *testing.T) {
	w := start(t, threeHosts)
	has := func(want ...string) func() bool {
		return func() bool { return slices.Equal(ask[adaptation](w, "proxy", "adapt").links(), want) }
	}
	first := w.stream("vm1", "vm2", 1000)
	w.eventually(5*time.Second, "a fast path for vm1 and vm2", has("host1–host2"))
	time.Sleep(time.Second)
	if sent, r := first.stop(); r.LostCount > 0 || r.Duplicates > 0 {
		t.Errorf("while a fast path was added, of %d packets %d were lost and %d came twice", sent, r.LostCount, r.Duplicates)
	}
	w.eventually(3*time.Second, "silence keeps the fast path", has("host1–host2"))

	second := w.stream("vm1", "vm3", 1000)
	w.eventually(5*time.Second, "a fast path for vm1 and vm3 beside it", has("host1–host2", "host1–host3"))
	w.eventually(25*time.Second, "the first fast path goes: the topology has moved on", has("host1–host3"))
	if sent, r := second.stop(); r.LostCount > 0 || r.Duplicates > 0 {
		t.Errorf("while fast paths came and went, of %d packets %d were lost and %d came twice", sent, r.LostCount, r.Duplicates)
	}
	if star := ask[struct{ Status struct{ Star string } }](w, "host1", "status"); star.Status.Star != "LINK_STATE_UP" {
		t.Errorf("the star link of host1 is %s", star.Status.Star)
	}
}

func TestTheBudgetOfLinksIsKept(t *testing.T) {
	w := start(t, threeHosts)
	w.vnet("proxy", "adapt", "--max-links", "1")
	slow, fast := w.stream("vm1", "vm2", 300), w.stream("vm1", "vm3", 1500)
	w.eventually(8*time.Second, "one fast path, for the stronger pair", func() bool {
		return slices.Equal(ask[adaptation](w, "proxy", "adapt").links(), []string{"host1–host3"})
	})
	slow.stop()
	fast.stop()
}

func TestTwoOverlaysOnOneMachine(t *testing.T) {
	patient(t)
	w := startLab(t, twoHosts)
	for _, name := range []string{"red", "blue"} {
		p := w.spawn("proxy", lab.CmdOptions{Name: "vnet"}, program, "proxy", "--overlay", name)
		t.Cleanup(func() { p.Signal(15) })
	}
	for _, name := range []string{"red", "blue"} {
		w.eventually(10*time.Second, fmt.Sprintf("overlay %s answers", name), func() bool {
			out, err := w.Vnet(w.Context(), "proxy", "status", "--overlay", name, "-o", "json")
			return err == nil && len(out) > 0
		})
		status := ask[struct{ Status struct{ Overlay string } }](w, "proxy", "status", "--overlay", name)
		if status.Status.Overlay != name {
			t.Errorf("the daemon of overlay %s says it is of %q", name, status.Status.Overlay)
		}
	}
	// A second daemon of one overlay is refused, and the first goes on.
	if out, err := w.Output(w.Context(), "proxy", program, "proxy", "--overlay", "red"); err == nil {
		t.Errorf("a second Proxy of overlay red started: %s", out)
	}
	w.vnet("proxy", "status", "--overlay", "red")
}
