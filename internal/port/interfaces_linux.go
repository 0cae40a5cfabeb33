package port

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// What an interface may be used for.
const (
	UseAvailable = "available"
	UseRefused   = "refused"
	usePort      = "port " // and its name
)

// Interface is a network interface of this machine, and whether it may be a LAN port.
type Interface struct {
	Name     string
	MAC      ether.MAC
	MTU      int
	Kind     string   // as the kernel calls it: device, veth, bridge, …
	Offloads []string // csum, tso, gso, gro
	Use      string   // "port NAME", UseAvailable or UseRefused
	Why      string   // why it is refused, or what to know before it is used
}

// dumpTries is how often an interrupted dump is asked for again before what came is taken: as container runtimes
// do, since on a busy machine every dump may be interrupted.
const dumpTries = 5

// Interfaces lists all interfaces of this machine by name. The ports given are those already open.
func Interfaces(open ...Port) ([]Interface, error) {
	links, err := listLinks()
	if err != nil {
		return nil, err
	}
	used := make(map[string]Port)
	for _, p := range open {
		if info := p.Info(); info.Interface != "" {
			used[info.Interface] = p
		}
	}
	names := make(map[int]string)
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	dev, err := newDevice("")
	if err != nil {
		return nil, err
	}
	defer dev.close()
	var out []Interface
	for _, link := range links {
		out = append(out, describe(link, dev, names, used))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

func listLinks() ([]netlink.Link, error) {
	for try := 1; ; try++ {
		links, err := netlink.LinkList()
		if err == nil || errors.Is(err, netlink.ErrDumpInterrupted) && try == dumpTries {
			return links, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("cannot list the interfaces of this machine: %w", err)
		}
	}
}

func describe(link netlink.Link, dev device, names map[int]string, used map[string]Port) Interface {
	a := link.Attrs()
	dev.name = a.Name
	i := Interface{Name: a.Name, MTU: a.MTU, Kind: link.Type(), Offloads: dev.offloads()}
	if len(a.HardwareAddr) == len(i.MAC) {
		i.MAC = ether.MAC(a.HardwareAddr)
	}
	// The TAP of a port may live in another namespace, under the name of one of ours.
	if p, ok := used[a.Name]; ok && (p.Info().Kind != KindTAP || p.Info().MAC == i.MAC) {
		i.Use = usePort + p.Name()
		return i
	}
	i.Use, i.Why = judge(candidate{
		name:     a.Name,
		kind:     link.Type(),
		alias:    a.Alias,
		ethernet: a.EncapType == "ether",
		loopback: a.Flags&net.FlagLoopback != 0,
		up:       a.Flags&net.FlagUp != 0,
		master:   names[a.MasterIndex],
		foreign:  a.NetNsID >= 0,
		wireless: isWireless(a.Name),
	})
	return i
}

func isWireless(name string) bool {
	_, err := os.Stat(filepath.Join("/sys/class/net", name, "phy80211"))
	return err == nil
}

// candidate is what is known of an interface when it is judged.
type candidate struct {
	name, kind, alias string
	master            string // bridge or bond it belongs to
	ethernet          bool
	loopback          bool
	up                bool
	foreign           bool // its peer is in another namespace
	wireless          bool
}

// overlay is a kind of interface that other software carries frames in. Ours in theirs, theirs in ours: a loop, or
// at least every frame twice over the same wire.
type overlay struct{ prefix, what string }

func overlays() []overlay {
	return []overlay{
		{"wg", "WireGuard's"}, {"tailscale", "Tailscale's"}, {"zt", "ZeroTier's"}, {"nebula", "Nebula's"},
		{"docker", "Docker's"}, {"cilium", "Cilium's"}, {"lxc", "a container's"},
		{"cali", "Calico's"}, {"flannel", "Flannel's"}, {"cni", "a container network's"},
		{"podman", "Podman's"}, {"weave", "Weave's"}, {"kube-", "Kubernetes'"}, {"ovs-system", "Open vSwitch's"},
	}
}

// dockerBridge reports whether a bridge is named as Docker names those of its networks: br- and 12 hexadecimal
// digits. Other people's bridges are called br-lan.
func dockerBridge(name string) bool {
	id, ok := strings.CutPrefix(name, "br-")
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}

// tunnel reports whether links of this kind carry frames over another interface.
func tunnel(kind string) bool {
	switch kind {
	case "wireguard", "vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ip6erspan", "openvswitch", "netkit":
		return true
	}
	return false
}

// judge says whether an interface may be a LAN port, and why not, or what to know.
func judge(c candidate) (use, why string) {
	switch {
	case strings.HasPrefix(c.alias, aliasPrefix):
		return UseRefused, "it is the TAP of " + strings.TrimPrefix(c.alias, "vnet ")
	case c.loopback:
		return UseRefused, "it is the loopback"
	case tunnel(c.kind):
		return UseRefused, "it is an overlay of kind " + c.kind
	case !c.ethernet:
		return UseRefused, "it does not carry Ethernet"
	}
	for _, o := range overlays() {
		if strings.HasPrefix(c.name, o.prefix) {
			return UseRefused, "it is " + o.what
		}
	}
	if c.kind == "bridge" && dockerBridge(c.name) {
		return UseRefused, "it is Docker's"
	}
	switch {
	case c.kind == "veth" && c.foreign && strings.HasPrefix(c.name, "veth"):
		return UseRefused, "it leads into a container"
	case c.master != "":
		return UseRefused, fmt.Sprintf("it belongs to %s: use that", c.master)
	case c.wireless:
		return UseRefused, "it is wireless, and an access point drops frames of other addresses than its own"
	case c.kind == "bridge":
		return UseAvailable, "as a bridge: the port becomes one of its members"
	case !c.up:
		return UseAvailable, "it is down"
	}
	return UseAvailable, ""
}
