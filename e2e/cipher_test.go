package e2e

import "testing"

// A user names the ciphers of links, which change under numbered packets and are remembered over a restart of either end.
func TestLinksAreSealedAsTheUserSays(t *testing.T) {
	patient(t)
	w := start(t, `
name: ciphers
sites: [{name: here}]
hosts: [{name: host1, site: here}, {name: host2, site: here}, {name: proxy, site: here}]
vms: [{name: vm1, host: host1}, {name: vm2, host: host2}]
overlay: {proxy: proxy}
`)
	w.vnet("proxy", "adapt", "observe")
	sealed := func(at, peer, want string) {
		t.Helper()
		w.eventually(10e9, "the link of "+at+" and "+peer+" is sealed with "+want, func() bool { return w.link(at, peer).Cipher == want })
	}
	w.run("vm1", "ping", "-c", "1", "-W", "2", w.Address("vm2").String())
	s := w.stream("vm1", "vm2", 1000)
	w.vnet("host1", "link", "cipher", "proxy", "trusted")
	sealed("host1", "proxy", "trusted")
	sealed("proxy", "host1", "trusted")
	w.vnet("proxy", "link", "cipher", "host2", "aes-256-gcm")
	sealed("host2", "proxy", "aes-256-gcm")
	w.vnet("host1", "link", "add", "host2", "--cipher", "chacha20-poly1305")
	sealed("host2", "host1", "chacha20-poly1305")
	w.vnet("host2", "link", "cipher", "host1", "trusted")
	sealed("host1", "host2", "trusted")
	w.apply("vnet 1\nlink host1 host2 cipher aes-256-gcm\n", "another cipher of a link that stays")
	sealed("host2", "host1", "aes-256-gcm")
	w.apply("vnet 1\nlink host1 host2 cipher trusted\n", "a link without cipher")
	sealed("host1", "host2", "trusted")
	_, report := s.stop()
	if report.LostCount > 0 || report.Duplicates > 0 {
		t.Errorf("of the numbered packets %d were lost and %d came twice", report.LostCount, report.Duplicates)
	}
	if err := w.Kill("host1"); err != nil {
		t.Fatal(err)
	}
	if err := w.StartHost(t.Context(), "host1"); err != nil {
		t.Fatal(err)
	}
	sealed("host1", "proxy", "trusted")
	sealed("host1", "host2", "trusted")
	w.vnet("host1", "link", "cipher", "proxy", "auto")
	w.eventually(10e9, "host1 and the Proxy are secret again", func() bool { return w.link("host1", "proxy").Cipher != "trusted" })
}
