package e2e

import "testing"

// twoHosts is the smallest overlay: two hosts at one site, the Proxy at another.
const twoHosts = `
name: two
sites: [{name: cloud}, {name: home}]
hosts:
  - {name: host1, site: cloud}
  - {name: host2, site: cloud}
  - {name: proxy, site: home}
vms:
  - {name: vm1, host: host1}
  - {name: vm2, host: host2}
paths: [{between: [cloud, home], delay: 2.5ms}]
overlay: {proxy: proxy}
`

func TestTwoVMsOnTheStar(t *testing.T) {
	w := start(t, twoHosts)
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "2", w.Address("vm2").String())
	s := w.stream("vm1", "vm2", 200)
	w.run("vm2", "ping", "-c", "10", "-i", "0.1", "-W", "2", w.Address("vm1").String())
	if sent, r := s.stop(); r.LostCount > 0 || r.Duplicates > 0 || r.Received != sent {
		t.Errorf("of %d packets %d came, %d were lost, %d came twice", sent, r.Received, r.LostCount, r.Duplicates)
	}
}
