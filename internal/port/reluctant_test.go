package port

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestInterfacesThatRefuseForeignMACs(t *testing.T) {
	card := func(driver string) *fstest.MapFile {
		return &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../../bus/virtio/drivers/" + driver)}
	}
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	machine := func(vendor, product, driver string) fstest.MapFS {
		return fstest.MapFS{
			"class/dmi/id/sys_vendor": text(vendor), "class/dmi/id/product_name": text(product), "class/net/eth0/device/driver": card(driver),
		}
	}
	for _, row := range []struct {
		name, of, want string
		sys            fstest.MapFS
	}{
		{"a wired card", "eth0", "", machine("LENOVO", "20X", "e1000e")},
		{"a guest at home", "eth0", "", machine("QEMU", "Standard PC (Q35 + ICH9, 2009)", "virtio_net")},
		{"Wi-Fi", "wlan0", "Wi-Fi", fstest.MapFS{"class/net/wlan0/phy80211/name": text("phy0")}},
		{"Wi-Fi of an older kernel", "wlan0", "Wi-Fi", fstest.MapFS{"class/net/wlan0/wireless/status": text("0")}},
		{"Amazon", "eth0", "Amazon EC2 (ena)", machine("Amazon EC2", "m5.large", "ena")},
		{"Google", "eth0", "Google Cloud (gve)", machine("Google", "Google Compute Engine", "gve")},
		{"Google, older", "eth0", "Google Cloud (virtio_net)", machine("Google", "Google Compute Engine", "virtio_net")},
		{"Azure", "eth0", "Azure or Hyper-V", machine("Microsoft Corporation", "Virtual Machine", "hv_netvsc")},
		{"a Surface", "eth0", "", machine("Microsoft Corporation", "Surface Pro", "r8152")},
		{"OpenStack", "eth0", "OpenStack", machine("OpenStack Foundation", "OpenStack Nova", "virtio_net")},
		{"a veth on Amazon", "veth0", "", machine("Amazon EC2", "m5.large", "ena")},
		{"a machine without DMI", "eth0", "", fstest.MapFS{"class/net/eth0/device/driver": card("ena")}},
		{"a bridge over Wi-Fi", "br0", "a port of the bridge br0", fstest.MapFS{
			"class/net/br0/brif/wlan0/x": text(""), "class/net/wlan0/phy80211/name": text("phy0"),
		}},
		{"a bridge over a wired card", "br0", "", fstest.MapFS{"class/net/br0/brif/eth0/x": text(""), "class/net/eth0/device/driver": card("igb")}},
		{"none there", "eth7", "", fstest.MapFS{}},
	} {
		why, do := Reluctance(row.sys, row.of)
		if row.want == "" && why != "" || !strings.Contains(why, row.want) || (why == "") != (do == "") {
			t.Errorf("%s: %q → %q", row.name, why, do)
		}
	}
}
