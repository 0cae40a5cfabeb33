package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/lab"
)

// secretsIn are the secrets that a PEM file holds, in every form in which they could be printed.
func secretsIn(t *testing.T, what, text string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if !strings.Contains(block.Type, "PRIVATE KEY") {
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(base64.StdEncoding.EncodeToString(block.Bytes)), "\n") {
			found[line[len(line)/2:len(line)/2+24]] = what // the middle: any print of it, in one piece or in lines of 64
		}
		found[hex.EncodeToString(block.Bytes)[60:100]] = what
	}
	if len(found) == 0 {
		t.Fatalf("%s holds no key", what)
	}
	return found
}

// From founding an overlay to asking everything of it, with all that daemons log: no token, no key, in whatever they print.
func TestNoSecretIsPrinted(t *testing.T) {
	needs(t, "ip")
	w := startLab(t, twoMachines)
	said, logs := &spoken{}, &spoken{}
	w.spawn("home", lab.CmdOptions{Name: "vnet", Stdout: said, Stderr: logs}, program, "proxy", "--lan", "eth0", "--verbose")
	command := regexp.MustCompile(`vnet join (vnet1\.\S+)`)
	w.eventually(15*time.Second, "the Proxy prints the next command", func() bool { return command.MatchString(said.String()) })
	token := command.FindStringSubmatch(said.String())[1]
	var inside struct {
		S []byte `json:"s"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "vnet1."))
	if err == nil {
		err = json.Unmarshal(raw[:len(raw)-4], &inside)
	}
	if err != nil || len(inside.S) != 16 {
		t.Fatalf("%v, a secret of %d bytes", err, len(inside.S))
	}
	secrets := map[string]string{
		token[10:]: "the token", base64.StdEncoding.EncodeToString(inside.S)[:20]: "its secret", hex.EncodeToString(inside.S): "its secret",
		base64.RawURLEncoding.EncodeToString(inside.S)[:20]: "its secret",
	}
	w.run("cloud", "sh", "-c", program+" join "+token[:len(token)-3]+"AAA 2>&1 || true") // not the token: its sum is wrong
	w.run("cloud", program, "join", token, "--no-start")
	w.spawn("cloud", lab.CmdOptions{Name: "vnet", Stdout: logs, Stderr: logs}, program, "host", "--tap", "vnet0", "--verbose")
	w.answers("cloud")
	var printed strings.Builder
	try := func(host string, args ...string) {
		out, err := w.Output(w.Context(), host, append([]string{"sh", "-c", `"$@" 2>&1; true`, "sh", program}, args...)...)
		if err != nil {
			t.Errorf("vnet %v: %v", args, err)
		}
		printed.WriteString(out)
	}
	try("cloud", "doctor", token)
	try("cloud", "join", token)
	w.run("home", program, "client", "create", "alice", "--role", "read", "--file", "/tmp/alice.pem")
	for _, host := range []string{"home", "cloud"} {
		for _, args := range []string{
			"status", "nodes", "nodes fingerprint", "ports", "links", "rules", "interfaces", "traffic", "app", "adapt status", "adapt history", "bound", "counters",
			"token list", "show topology", "token revoke nonsense", "nodes approve nobody", "nodes revoke client/alice", "ca rotate",
		} {
			try(host, strings.Fields(args)...)
			try(host, append(strings.Fields(args), "-o", "json")...)
		}
	}
	for _, dir := range []string{"home", "cloud"} {
		for what, m := range secretsIn(t, "the key of "+dir, w.run(dir, "cat", "/var/lib/vnet/vnet/identity.pem")) {
			secrets[what] = m
		}
	}
	for what, m := range secretsIn(t, "the authority's key", w.run("home", "cat", "/var/lib/vnet/vnet/ca.pem")) {
		secrets[what] = m
	}
	for what, m := range secretsIn(t, "alice's key", w.run("home", "cat", "/tmp/alice.pem")) {
		secrets[what] = m
	}
	if len(logs.String()) < 1000 || printed.Len() < 5000 || !strings.Contains(logs.String(), "level=DEBUG") {
		t.Errorf("%d bytes of logs, %d bytes printed: that is not all\n%s", len(logs.String()), printed.Len(), logs)
	}
	rest := strings.ReplaceAll(said.String(), token, "") // that is where the token is meant to be seen
	for where, text := range map[string]string{"the daemons' logs": logs.String(), "what commands print": printed.String(), "what the Proxy prints besides": rest} {
		for secret, what := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s shows %s: …%.80s", where, what, text[max(0, at-60):])
			}
		}
		if strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("%s has a private key", where)
		}
	}
}
