package e2e

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// step is one change of a round.
type step struct {
	kind string
	make func()
}

// round is every kind of change once, in an order in which each finds what it changes.
func (c *changing) round() []step {
	do := func(host string, args ...string) func() { return func() { c.vnet(host, args...) } }
	move := func(host, peer, to, carrier string) func() {
		return func() {
			c.vnet(host, "link", "carrier", peer, to)
			c.eventually(5*time.Second, "the link of "+host+" and "+peer+" is on "+carrier, func() bool {
				return c.link(host, peer).Carrier == "CARRIER_"+carrier
			})
		}
	}
	return []step{
		{"star to fast path, by the user's rules", c.direct},
		{"rule at the source replaced", func() { c.replace(2) }},
		{"rule at the destination replaced", func() { c.replace(0) }},
		{"fast path rekeyed, at host1", do("host1", "link", "rekey", "host2")},
		{"fast path rekeyed, at host2", do("host2", "link", "rekey", "host1")},
		{"fast path from udp to tcp, at host1", move("host1", "host2", "tcp", "TCP")},
		{"fast path over tcp rekeyed, at host2", do("host2", "link", "rekey", "host1")},
		{"fast path from tcp to udp, at host2", move("host2", "host1", "udp", "UDP")},
		{"fast path in use deleted, with the user's rules", func() {
			c.vnet("host1", "link", "delete", "host2", "--force")
			c.carries("proxy")
		}},
		{"star of host1 rekeyed, at host1", do("host1", "link", "rekey", "proxy")},
		{"star of host2 rekeyed, at the Proxy", do("proxy", "link", "rekey", "host2")},
		{"star of host1 from udp to tcp", move("host1", "proxy", "tcp", "TCP")},
		{"star of host1 over tcp rekeyed", do("host1", "link", "rekey", "proxy")},
		{"star of host1 from tcp to udp, at the Proxy", move("proxy", "host1", "auto", "UDP")},
		{"star to fast path, by adaptation", func() { c.adapted(true, "adapt", "auto") }},
		{"peer of another fast path killed", c.killThird},
		{"fast path to star, by adaptation: stronger pair", c.crowdOut},
		{"star to fast path, by adaptation: more links", func() { c.adapted(true, "adapt", "--max-links", "0") }},
		{"adapted fast path rekeyed", do("host2", "link", "rekey", "host1")},
		{"adapted fast path in use deleted", func() {
			c.vnet("proxy", "adapt", "observe")
			c.vnet("host1", "link", "delete", "host2")
			c.carries("proxy")
		}},
	}
}

// rulesOfTheUser take the two VMs' frames over the link of their hosts: first where they arrive, then where they start.
var rulesOfTheUser = [4][2]string{
	{"host2", "from link:host1 src 52:54:00:00:00:01 dst 52:54:00:00:00:02 to port:vm2"},
	{"host1", "from link:host2 src 52:54:00:00:00:02 dst 52:54:00:00:00:01 to port:vm1"},
	{"host1", "from port:vm1 src 52:54:00:00:00:01 dst 52:54:00:00:00:02 to link:host2"},
	{"host2", "from port:vm2 src 52:54:00:00:00:02 dst 52:54:00:00:00:01 to link:host1"},
}

type ruleReply struct{ Rule struct{ ID string } }

// prepare opens a fast path from host1 to a third host, whose end will be killed.
func (c *changing) prepare() {
	c.vnet("host1", "link", "add", "host3")
	c.vnet("host1", "rule", "add", "from port:vm1 src any dst 52:54:00:00:00:03 to link:host3")
}

func (c *changing) direct() {
	c.vnet("host1", "link", "add", "host2")
	for i, r := range rulesOfTheUser {
		c.rules[i] = ask[ruleReply](c.world, r[0], "rule", "add", r[1]).Rule.ID
	}
	c.carries("host2")
}

// carries waits until host1 sends the traffic over the link to peer.
func (c *changing) carries(peer string) {
	c.eventually(5*time.Second, "host1 sends the traffic to "+peer, func() bool {
		before := c.link("host1", peer).sent()
		time.Sleep(50 * time.Millisecond)
		return c.link("host1", peer).sent() > before+40 // the numbered stream alone sends 50 in this time
	})
}

// replace deletes a rule and adds it again. Without it, frames take the star.
func (c *changing) replace(i int) {
	host, text := rulesOfTheUser[i][0], rulesOfTheUser[i][1]
	c.vnet(host, "rule", "delete", c.rules[i])
	c.rules[i] = ask[ruleReply](c.world, host, "rule", "add", text).Rule.ID
}

// adapted gives an order to the adaptation and waits until it has, or has not, a fast path for the two hosts.
func (c *changing) adapted(want bool, order ...string) {
	c.vnet("proxy", order...)
	// A link that was opened of late is held for 10 s against a stronger pair's.
	c.eventually(25*time.Second, "adaptation obeys: "+strings.Join(order, " "), func() bool {
		return slices.Contains(ask[adaptation](c.world, "proxy", "adapt").links(), "host1–host2") == want
	})
	c.carries(map[bool]string{true: "host2", false: "proxy"}[want])
}

// crowdOut has a stronger pair of VMs take the only fast path that is allowed.
func (c *changing) crowdOut() {
	server := c.spawn("vm4", lab.CmdOptions{}, "iperf3", "-s", "-1")
	time.Sleep(200 * time.Millisecond) // until it listens: it says nothing of it when its output is no terminal
	client := c.spawn("vm3", lab.CmdOptions{}, "iperf3", "-c", c.Address("vm4").String(), "-b", "90M", "-t", "60")
	c.eventually(10*time.Second, "a fast path for the stronger pair", func() bool {
		return slices.Contains(ask[adaptation](c.world, "proxy", "adapt").links(), "host3–host4")
	})
	c.eventually(10*time.Second, "the pair is seen to be stronger", func() bool {
		app := ask[application](c.world, "proxy", "app")
		return app.rate("vm3", "vm4") > 1.1*app.rate("vm1", "vm2")
	})
	c.adapted(false, "adapt", "--max-links", "1")
	client.Stop(time.Second)
	server.Stop(time.Second)
}

type application struct {
	App struct {
		Groups []struct {
			Edges []struct {
				A, B    string
				RateBps float64
			}
		}
	}
}

// rate is what two VMs exchange, as inferred.
func (a application) rate(x, y string) float64 {
	for _, g := range a.App.Groups {
		for _, e := range g.Edges {
			if e.A == x && e.B == y || e.A == y && e.B == x {
				return e.RateBps
			}
		}
	}
	return 0
}

// killThird kills the daemon at the far end of host1's other fast path, waits until host1 has seen it, and starts it again.
func (c *changing) killThird() {
	if err := c.Kill("host3"); err != nil {
		c.Fatal(err)
	}
	c.eventually(5*time.Second, "host1 notices that host3 is gone", func() bool { return c.link("host1", "host3").State != "LINK_STATE_UP" })
	if err := c.StartHost(c.Context(), "host3"); err != nil {
		c.Fatal(err)
	}
}

type linkList struct{ Links []linkInfo }

type linkInfo struct {
	Name, State, Carrier, Cipher, Remote, FramesSent string
	ExtraPorts                                       []struct{ Up bool }
}

// sent is how many frames went over it.
func (l linkInfo) sent() int {
	n, _ := strconv.Atoi(l.FramesSent)
	return n
}

// link is one end of a link, as its node has it.
func (w *world) link(at, peer string) linkInfo {
	for _, l := range ask[linkList](w, at, "links").Links {
		if l.Name == peer {
			return l
		}
	}
	return linkInfo{}
}
