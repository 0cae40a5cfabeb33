package e2e

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// twoMachines is what the README's second minute speaks of: a LAN at home with a printer on it, and a machine elsewhere.
const twoMachines = `
name: readme
sites: [{name: house, subnet: 192.168.1.0/24}, {name: datacentre}]
hosts:
  - {name: home, site: house}
  - {name: printer, site: house, address: 192.168.1.20/24}
  - {name: cloud, site: datacentre}
paths: [{between: [house, datacentre], delay: 2.5ms}]
`

// block is some commands of the README, and where they are to be run.
type block struct {
	where string
	stays bool // the command is a daemon
	lines []string
}

// TestReadmeSecondMinute types what the README says, line by line.
func TestReadmeSecondMinute(t *testing.T) {
	patient(t)
	needs(t, "ip", "ping")
	if os.Geteuid() != 0 {
		t.Skip("not root: the commands make a named network namespace")
	}
	w := startLab(t, twoMachines)
	token := ""
	for _, b := range readme(t) {
		for _, line := range b.lines {
			argv := strings.Fields(strings.ReplaceAll(strings.TrimPrefix(line, "sudo "), "TOKEN", token))
			if argv[0] == "vnet" {
				argv[0] = program
			}
			if b.stays {
				w.spawn(b.where, lab.CmdOptions{Name: "vnet"}, argv...)
				w.answers(b.where)
				continue
			}
			out := w.run(b.where, argv...)
			if strings.Contains(line, "token create") {
				token = strings.TrimSpace(out)
			}
		}
	}
	if token == "" {
		t.Error("the README makes no token")
	}
}

// answers waits until a daemon that was just started is up, and linked to the Proxy if it is a host.
func (w *world) answers(host string) {
	w.Helper()
	w.eventually(15*time.Second, host+" answers", func() bool {
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		out, err := w.Output(ctx, host, program, "status")
		return err == nil && (strings.Contains(out, "(proxy)") || regexp.MustCompile(`star +up`).MatchString(out))
	})
}

// readme finds the blocks of commands that the README marks as run somewhere.
func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	marked := regexp.MustCompile("(?s)<!-- run (?:at|in the) (\\w+)(, and it stays)? -->\n```sh\n(.*?)```")
	var all []block
	for _, m := range marked.FindAllStringSubmatch(string(text), -1) {
		all = append(all, block{where: m[1], stays: m[2] != "", lines: strings.Split(strings.TrimSpace(m[3]), "\n")})
	}
	if len(all) < 5 {
		t.Fatalf("found %d marked blocks of commands in the README; want at least 5", len(all))
	}
	return all
}
