package e2e

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// statuses are the status files of all threads of the host's daemons.
func (w *world) statuses(host string) string {
	w.Helper()
	return w.run(host, "sh", "-c", `for p in /proc/[0-9]*; do
  tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -qE '(^|/)vnet (host|proxy) ' && cat $p/task/*/status
done; true`)
}

// A daemon that is up has given up what it needed to open its devices, in every thread, and all goes on: links, frames, a
// restart of the far end, a fresh handshake, a renewed link.
func TestPrivilegesAreGivenUp(t *testing.T) {
	patient(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can map other users into a lab")
	}
	w := startLab(t, `
name: privileges
sites: [{name: here}]
hosts: [{name: host1, site: here}, {name: host2, site: here}, {name: proxy, site: here}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`)
	if err := w.Daemons.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Kill("host2"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host2", "--user", "nobody", "--api-group", "daemon", "--nice", "5"); err != nil {
		t.Fatal(err)
	}
	w.run("vm1", "ping", "-c", "2", "-W", "2", w.Address("vm2").String())
	w.vnet("proxy", "link", "rekey", "host2")
	w.vnet("host1", "link", "add", "host2")
	w.run("vm2", "ping", "-c", "2", "-W", "2", w.Address("vm1").String())
	for _, host := range []string{"host1", "host2", "proxy"} {
		text := w.statuses(host)
		threads := strings.Count(text, "\nPid:")
		if threads < 4 {
			t.Fatalf("%s has %d threads:\n%s", host, threads, text)
		}
		for _, word := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
			if n := strings.Count(text, word); n != threads {
				t.Errorf("%s: %d of %d threads have %s: %v", host, n, threads, word, regexp.MustCompile(strings.SplitN(word, ":", 2)[0]+`.*`).FindAllString(text, -1))
			}
		}
		if n := strings.Count(text, "\nUid:\t65534\t65534\t65534\t65534"); host == "host2" && n != threads {
			t.Errorf("%s: %d of %d threads are nobody's", host, n, threads)
		}
	}
	nice := strings.Fields(w.run("host2", "sh", "-c", `for p in /proc/[0-9]*; do
  tr '\0' ' ' <$p/cmdline 2>/dev/null | grep -qE '(^|/)vnet host ' && cut -d' ' -f19 $p/task/*/stat
done; true`))
	if len(nice) < 4 || slices.ContainsFunc(nice, func(s string) bool { return s != "5" }) {
		t.Errorf("host2 was to run at niceness 5, and its threads run at %v", nice)
	}
	out := w.run("host2", "sh", "-c", "stat -c '%a %U %G' /run/vnet/*.sock; stat -c '%a %U' /var/lib/vnet/*")
	if !strings.Contains(out, "660 nobody daemon") || !strings.Contains(out, "700 nobody") {
		t.Errorf("host2's socket and state: %s", out)
	}
	if out := w.run("host2", "sh", "-c", `d=$(echo /var/lib/vnet/*); setpriv --reuid=nobody --regid=nogroup --clear-groups sh -c "cd $d && : >again && rm again && echo renewable"; true`); !strings.Contains(out, "renewable") {
		t.Errorf("nobody cannot keep a renewed certificate in host2's state: %s", out)
	}
	if err := w.Kill("host2"); err != nil { // a socket left behind by another user is replaced
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host2", "--user", "nobody"); err != nil {
		t.Fatal(err)
	}
	w.eventually(5*time.Second, "all is as before", func() bool { return w.link("host2", "proxy").Carrier != "" })
	w.run("vm1", "ping", "-c", "2", "-W", "2", w.Address("vm2").String())
}
