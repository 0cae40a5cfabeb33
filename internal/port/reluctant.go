package port

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Reluctance says why an interface is not likely to carry frames of other MACs than its own, which a LAN port sends; empty
// where nothing speaks against it. sys is the machine's /sys.
func Reluctance(sys fs.FS, name string) (why, do string) {
	dir := path.Join("class/net", name)
	for _, mark := range []string{"wireless", "phy80211"} {
		if _, err := fs.Stat(sys, path.Join(dir, mark)); err == nil {
			return name + " is a Wi-Fi interface, and an access point takes frames of one MAC only from each of its stations",
				"take a wired interface, or a machine that has one; or switch 4-address frames on where the access point allows it: iw dev " + name + " set 4addr on"
		}
	}
	if ports, err := fs.ReadDir(sys, path.Join(dir, "brif")); err == nil { // a bridge is as good as its ports
		for _, p := range ports {
			if why, do = Reluctance(sys, p.Name()); why != "" {
				return why + " (a port of the bridge " + name + ")", do
			}
		}
		return "", ""
	}
	driver := ""
	if link, err := fs.ReadLink(sys, path.Join(dir, "device/driver")); err == nil {
		driver = path.Base(link)
	}
	for _, c := range clouds() {
		if c.is(sys) && strings.Contains(" "+c.drivers+" ", " "+driver+" ") && driver != "" {
			return fmt.Sprintf("%s is a network card of %s (%s), whose network takes frames of the machine's own MAC only", name, c.name, driver), c.do
		}
	}
	return "", ""
}

// cloud is a place whose machines get cards that refuse foreign MACs.
type cloud struct {
	name    string
	vendor  string // sys_vendor of the machine's DMI, how it begins
	product string // product_name, how it begins
	drivers string
	do      string
}

func (c cloud) is(sys fs.FS) bool {
	return strings.HasPrefix(dmi(sys, "sys_vendor"), c.vendor) && strings.HasPrefix(dmi(sys, "product_name"), c.product)
}

func dmi(sys fs.FS, field string) string {
	text, err := fs.ReadFile(sys, "class/dmi/id/"+field)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// noLAN is what to do where nothing can be switched.
const noLAN = "leave --lan away here and give guests a TAP (--tap); the Proxy's LAN port belongs on a machine of your own network"

// clouds are those whose documentation says so.
func clouds() []cloud {
	const virtio = "virtio_net"
	return []cloud{
		{"Amazon EC2", "Amazon EC2", "", "ena ixgbevf vif " + virtio, noLAN},
		{"Amazon EC2", "Xen", "HVM domU", "ena ixgbevf", noLAN},
		{"Google Cloud", "Google", "", "gve " + virtio, noLAN},
		{"Azure or Hyper-V", "Microsoft Corporation", "Virtual Machine", "hv_netvsc mlx4_en mlx5_core mana", "on Hyper-V enable \"MAC address spoofing\" for the card; on Azure " + noLAN},
		{"DigitalOcean", "DigitalOcean", "", virtio, noLAN},
		{"Hetzner Cloud", "Hetzner", "", virtio, noLAN},
		{"Alibaba Cloud", "Alibaba Cloud", "", virtio, noLAN},
		{"Oracle Cloud", "QEMU", "Standard PC (i440FX + PIIX, 1996) OracleCloud", virtio, noLAN},
		{"OpenStack", "OpenStack Foundation", "", virtio, "have port security switched off for this card (openstack port set --disable-port-security), or " + noLAN},
		{"VMware", "VMware, Inc.", "", "vmxnet3 e1000 e1000e", "allow promiscuous mode and forged transmits on the port group of the card, or " + noLAN},
	}
}
