package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// Nonsense is refused with what is allowed, and nothing changes.

// post: post SOCKET METHOD JSON. It calls the API as curl would and prints the answer; a refused call ends with 1.
func post(args []string) int {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", args[0])
		},
	}}
	resp, err := client.Post("http://vnet/vnet.v1.Daemon/"+args[1], "application/json", strings.NewReader(args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	fmt.Fprintln(os.Stderr, string(answer))
	if resp.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

// complaint runs a command that must fail, and returns what it complained.
func (w *world) complaint(host, name string, argv ...string) string {
	w.Helper()
	var said output
	p := w.spawn(host, lab.CmdOptions{Name: name, Stdout: &said, Stderr: &said}, argv...)
	exit, err := p.Wait()
	if err != nil || exit.Code == 0 || exit.Signal != 0 {
		w.Errorf("%s at %s: %v, %v; want a refusal; it said: %s", strings.Join(argv, " "), host, exit, err, said.String())
	}
	return said.String()
}

// tables are the forwarding tables and links of all nodes, as the nodes themselves have them.
func (w *world) tables() string {
	w.Helper()
	var all strings.Builder
	for _, host := range []string{"proxy", "host1", "host2"} {
		all.WriteString(host + "\n" + w.vnet(host, "rules", "-o", "json"))
		answer := ask[struct {
			Links []struct{ Name, Kind, Origin, State string }
		}](w, host, "links")
		fmt.Fprintln(&all, answer.Links)
	}
	return all.String()
}

// calm waits until all nodes have learned where everybody is, and returns their tables.
func (w *world) calm() string {
	w.Helper()
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "5", w.Address("vm2").String())
	var before string
	steady := 0
	w.eventually(10*time.Second, "the tables stay as they are", func() bool {
		now := w.tables()
		if now != before {
			before, steady = now, 0
		}
		steady++
		return steady > 5
	})
	return before
}

func TestNonsenseIsRefused(t *testing.T) {
	patient(t)
	w := startLAN(t, twoHosts, "--adapt", "observe")
	before := w.calm()
	const x, y = "02:00:00:00:00:01", "02:00:00:00:00:02"
	rows := []struct {
		what string
		args []string
		says string // what is allowed; SELF stands for the node asked about, PORTS and LINKS for what it has
	}{
		{"bad MAC", []string{"rule", "add", "--dst", "02:00:00:00:00", "--to", "link:host1"}, "write a MAC address like 02:00:00:00:00:01"},
		{"bad source", []string{"rule", "add", "--src", "vm1", "--dst", "any", "--to", "link:host1"}, "write a MAC address like 02:00:00:00:00:01"},
		{"not/not", []string{"rule", "add", "--src", "not " + x, "--dst", "not " + y, "--to", "link:proxy"}, `use "any" on one side`},
		{"none as source", []string{"rule", "add", "--src", "none", "--dst", "any", "--to", "link:proxy"}, "only as destination"},
		{"unknown link", []string{"rule", "add", "--dst", x, "--to", "link:host9"}, "SELF has links to LINKS"},
		{"unknown arrival link", []string{"rule", "add", "--from", "link:host9", "--dst", x, "--to", "link:proxy"}, "SELF has links to LINKS"},
		{"unknown port", []string{"rule", "add", "--dst", x, "--to", "port:vm9"}, "SELF has PORTS"},
		{"no side", []string{"rule", "add", "--dst", x, "--to", "host2"}, "port:"},
		{"to any", []string{"rule", "add", "--dst", x, "--to", "any"}, "port:"},
		{"back where it came from", []string{"rule", "add", "--from", "link:proxy", "--dst", x, "--to", "link:proxy"}, "name another side"},
		{"group address", []string{"rule", "add", "--dst", "ff:ff:ff:ff:ff:ff", "--to", "LINK"}, "group frames take only the flood tree"},
		{"words", []string{"rule", "add", "from", "any", "dst", "any"}, `want "from SIDE src MATCH dst MATCH to SIDE"`},
		{"no rule", []string{"rule", "add"}, "give --dst and --to"},
		{"unknown rule", []string{"rule", "delete", "99999"}, "no such rule"},
		{"no number", []string{"rule", "delete", "first"}, "give its number"},
		{"unknown link", []string{"link", "delete", "host9"}, "SELF has links to LINKS"},
		{"link to nobody", []string{"link", "add", "host9"}, "the overlay has [host1 host2 proxy]"},
		{"link to itself", []string{"link", "add", "SELF"}, "name two nodes"},
		{"the star's link", []string{"link", "delete", "STAR"}, "the star stays"},
		{"the star's link, by force", []string{"link", "delete", "STAR", "--force"}, "the star stays"},
		{"a star twice", []string{"link", "add", "STAR"}, "it is there already, of origin star"},
	}
	has := map[string]*strings.Replacer{
		"proxy": strings.NewReplacer("SELF", "proxy", "PORTS", "no ports", "LINKS", "host1, host2", "LINK", "link:host1", "STAR", "host1"),
		"host1": strings.NewReplacer("SELF", "host1", "PORTS", "ports vm1", "LINKS", "proxy", "LINK", "link:proxy", "STAR", "proxy"),
		"host2": strings.NewReplacer("SELF", "host2", "PORTS", "ports vm2", "LINKS", "proxy", "LINK", "link:proxy", "STAR", "proxy"),
	}
	asked := [][2]string{{"proxy", "proxy"}, {"host1", "host1"}, {"proxy", "host1"}, {"host1", "host2"}, {"host2", "proxy"}}
	for _, who := range asked {
		at, about := who[0], who[1]
		t.Run(at+" about "+about, func(t *testing.T) {
			w := &world{T: t, Lab: w.Lab, Daemons: w.Daemons}
			for _, row := range rows {
				argv := []string{program}
				for _, a := range row.args {
					argv = append(argv, has[about].Replace(a))
				}
				if at != about {
					argv = append(argv, "--node", about)
				}
				if said := w.complaint(at, "vnet", argv...); !strings.Contains(said, has[about].Replace(row.says)) {
					t.Errorf("%s: %s: it said %q, want %q in it", row.what, strings.Join(argv[1:], " "), said, has[about].Replace(row.says))
				}
			}
			if said := w.complaint(at, "vnet", program, "rule", "add", "--node", "host9", "--dst", x, "--to", "link:proxy"); !strings.Contains(said, "host9") || !strings.Contains(said, "host1 host2 proxy") {
				t.Errorf("unknown node: it said %q", said)
			}
		})
	}
	calls := [][2]string{
		{`{"rule":{"arrival":"any","src":"any","dst":"02:00","out":"link:proxy"}}`, "write a MAC address like"},
		{`{"rule":{"arrival":"any","src":"not ` + x + `","dst":"not ` + y + `","out":"link:proxy"}}`, "on one side"},
		{`{"rule":{"arrival":"somewhere","src":"any","dst":"any","out":"link:proxy"}}`, "port:"},
		{`{"node":"host2","rule":{"src":"any","dst":"` + x + `","out":"link:host9"}}`, "host2 has links to proxy"},
		{`{}`, "write a MAC address like"},
	}
	for _, call := range calls {
		if said := w.complaint("host1", "post", lab.Self, socket(), "AddRule", call[0]); !strings.Contains(said, call[1]) {
			t.Errorf("AddRule %s: it said %q, want %q in it", call[0], said, call[1])
		}
	}
	if after := w.tables(); after != before {
		t.Errorf("the tables were\n%s\nand are\n%s", before, after)
	}
}

// socket is where the daemons listen: in a lab they are root.
func socket() string { return "/run/vnet/vnet.sock" }

// TestLoopingRulesAreRefused: a rule that closes a circle is refused with the circle printed, whichever daemon is asked.
func TestLoopingRulesAreRefused(t *testing.T) {
	patient(t)
	w := startLAN(t, twoHosts, "--adapt", "observe")
	w.vnet("host1", "link", "add", "host2")
	const x = "02:00:00:00:00:01"
	w.vnet("host1", "rule", "add", "--dst", x, "--to", "link:host2")
	before := w.calm()
	// At host2 it closes a circle: the Proxy does not know x, and floods it to host1.
	closing := []string{program, "rule", "add", "--dst", x, "--to", "link:proxy"}
	elsewhere := append(slices.Clone(closing), "--node", "host2")
	rows := map[string][]string{"host2": closing, "proxy": elsewhere, "host1": elsewhere}
	for at, argv := range rows {
		said := w.complaint(at, "vnet", argv...)
		t.Logf("at %s: %s", at, strings.TrimSpace(said))
		for _, node := range []string{x, "host1", "host2", "proxy"} {
			if !strings.Contains(said, node) {
				t.Errorf("the circle that %s prints does not name %s: %q", at, node, said)
			}
		}
	}
	if said := w.complaint("host1", "vnet", program, "link", "delete", "host2"); !strings.Contains(said, "delete the rule first") {
		t.Errorf("a link in use: it said %q", said)
	}
	if after := w.tables(); after != before {
		t.Errorf("the tables were\n%s\nand are\n%s", before, after)
	}
	w.run("vm1", "ping", "-c", "2", "-i", "0.2", "-W", "2", w.Address("vm2").String())
	var counters struct {
		Total struct {
			HopLimitHits json.Number `json:"hopLimitHits"`
		}
	}
	if err := json.Unmarshal([]byte(w.vnet("proxy", "counters", "-o", "json")), &counters); err != nil {
		t.Fatal(err)
	}
	if hits := counters.Total.HopLimitHits; hits != "0" {
		t.Errorf("%q frames met the hop limit", hits)
	}
}

// TestInterfacesThatAreNoLAN: --lan refuses what `vnet interfaces` lists as refused, and says why.
func TestInterfacesThatAreNoLAN(t *testing.T) {
	patient(t)
	needs(t, "ip")
	w := startLAN(t, bridged)
	w.run("proxy", "sh", "-c", "ip link add docker0 type bridge; ip link add wg0 type bridge; ip tuntap add dev tun7 mode tun")
	rows := map[string]string{
		"lo":      "it is the loopback",
		"eth1":    "it belongs to br0: use that",
		"docker0": "it is Docker's",
		"wg0":     "it is WireGuard's",
		"tun7":    "it does not carry Ethernet",
		"eth7":    "there is no such interface; available: br0, eth0",
	}
	for device, why := range rows {
		said := w.complaint("proxy", "vnet", program, "proxy", "--overlay", "other", "--lan", device)
		if !strings.Contains(said, "cannot join the LAN of "+device) || !strings.Contains(said, why) {
			t.Errorf("--lan %s: it said %q, want %q", device, said, why)
		}
	}
	if said := w.complaint("proxy", "vnet", program, "proxy", "--overlay", "other", "--lan", "eth0", "--lan", "again=eth0"); !strings.Contains(said, "it is port eth0 already") {
		t.Errorf("--lan eth0 twice: it said %q", said)
	}
	answer := ask[struct {
		Interfaces []struct{ Name, Use, Why string }
	}](w, "proxy", "interfaces")
	for _, i := range answer.Interfaces {
		want, refused := rows[i.Name]
		if refused != (i.Use == "INTERFACE_USE_REFUSED") || refused && !strings.Contains(i.Why, want) {
			t.Errorf("`vnet interfaces` shows %+v", i)
		}
	}
}
