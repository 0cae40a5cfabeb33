package port

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

func TestTAPIsSetUp(t *testing.T) {
	p := openTestTAP(t, TAPConfig{Name: "web", Interface: "vnet-web", Queues: 3, MTU: 1400, MAC: macB})
	want := Info{
		Kind: KindTAP, MAC: macB, MTU: 1400, Interface: "vnet-web", Queues: 3,
		Offloads: p.Info().Offloads, Off: p.Info().Off, Drops: map[string]uint64{},
	}
	if diff := cmp.Diff(want, p.Info()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	a := findLink(t, "vnet-web").Attrs()
	if a.MTU != 1400 || a.TxQLen != defaultTxQueue || int(a.GSOMaxSize) != defaultGSOMax || a.Alias != "vnet port web" {
		t.Fatalf("link: %+v", a)
	}
	if _, err := OpenTAP(TAPConfig{Name: "vnet-web"}); err == nil {
		t.Fatal("a second TAP of the same name was made")
	}
	if err := netlink.LinkSetMTU(findLink(t, "vnet-web"), 1300); err != nil {
		t.Fatal(err)
	}
	if got := p.Info().MTU; got != 1300 {
		t.Fatalf("MTU %d after it was changed to 1300", got)
	}
}

func TestVanishedInterface(t *testing.T) {
	rows := map[string]func(t *testing.T) Port{
		"tap": func(t *testing.T) Port { return openTestTAP(t, TAPConfig{Name: "victim"}) },
		"lan": func(t *testing.T) Port {
			addVeth(t, "victim", "witness")
			return openTestLAN(t, "victim")
		},
	}
	for name, open := range rows {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			done := make(chan error)
			go func() {
				b := NewBatch(1)
				for {
					if err := p.Read(0, b); err != nil {
						done <- err
						return
					}
				}
			}()
			if err := netlink.LinkDel(findLink(t, "victim")); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, ErrGone) {
				t.Fatalf("Read: %v", err)
			}
			if _, err := p.Write(0, []ether.Packet{recipe{payload: 10}.packet()}); !errors.Is(err, ErrGone) {
				t.Fatalf("Write: %v", err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDownInterfaceDropsAndComesBack(t *testing.T) {
	addVeth(t, "left", "right")
	near, far := openTestLAN(t, "left"), openTestLAN(t, "right")
	link := findLink(t, "left")
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	p := []ether.Packet{recipe{payload: 10}.packet()}
	if n, err := near.Write(0, p); n != 0 || err != nil {
		t.Fatalf("%d went, %v", n, err)
	}
	if got := near.Info().Drops[dropDown.String()]; got != 1 {
		t.Fatalf("drops: %v", near.Info().Drops)
	}
	setUpAndWait(t, "left", "right")
	send(t, near, p...)
	send(t, far, p...)
	same(t, p, expect(t, far, 1))
	same(t, p, expect(t, near, 1))
}

// TestQueuesFromAnotherNamespace makes a TAP as a lab does: in a namespace that this process then leaves.
func TestQueuesFromAnotherNamespace(t *testing.T) {
	needTAP(t)
	type made struct {
		fds    []int
		peer   Port
		err    error
		setMTU func(int) error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		var m made
		if m.err = unix.Unshare(unix.CLONE_NEWNET); m.err == nil {
			m.fds, _, m.err = openQueues("elsewhere", 2)
		}
		if m.err == nil {
			m.err = setUpLink(&TAPConfig{Name: "x", Interface: "elsewhere", MTU: 1500, GSOMax: defaultGSOMax, TxQueue: defaultTxQueue}, "")
		}
		if m.err == nil {
			m.peer, m.err = OpenLAN(LANConfig{Interface: "elsewhere"})
		}
		var h *netlink.Handle
		if m.err == nil {
			h, m.err = netlink.NewHandle()
		}
		m.setMTU = func(mtu int) error {
			link, err := h.LinkByName("elsewhere")
			if err != nil {
				return err
			}
			return h.LinkSetMTU(link, mtu)
		}
		result <- m
	}()
	m := <-result
	if m.err != nil {
		t.Fatal(m.err)
	}
	defer func() { _ = m.peer.Close() }()
	p, err := TAPFromFDs("vm1", m.fds)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	info := p.Info()
	if info.Interface != "elsewhere" || info.Queues != 2 || info.MTU != 1500 || info.MAC != m.peer.Info().MAC || p.Name() != "vm1" {
		t.Fatalf("%+v", info)
	}
	for _, mtu := range []int{1400, 9000} { // it is changed where it is, and frames that fit go
		if err := m.setMTU(mtu); err != nil {
			t.Fatal(err)
		}
		if got := p.Info().MTU; got != mtu {
			t.Fatalf("MTU %d, want %d", got, mtu)
		}
	}
	long := recipe{payload: 8900}.packet()
	send(t, p, long)
	same(t, []ether.Packet{long}, expect(t, m.peer, 1))
	addVeth(t, "elsewhere", "right") // of the same name, and not that port
	list, err := Interfaces(p)
	if i := slices.IndexFunc(list, func(i Interface) bool { return i.Name == "elsewhere" }); err != nil || i < 0 || list[i].Use != UseAvailable {
		t.Fatalf("%+v, %v", list, err)
	}
	r := recipe{payload: 9000, gso: 1448}
	send(t, p, r.packet())
	same(t, []ether.Packet{r.packet()}, expect(t, m.peer, 1))
	send(t, m.peer, r.packet())
	same(t, []ether.Packet{r.packet()}, expect(t, queuePort{p}, 1))
}

func TestTAPInAnotherNamespace(t *testing.T) {
	needTAP(t)
	path, leave := make(chan string), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			path <- ""
			return
		}
		path <- fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		<-leave
	}()
	defer close(leave)
	p, err := OpenTAP(TAPConfig{Name: "away", Namespace: <-path, MTU: 1300})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := netlink.LinkByName("away"); err == nil {
		t.Fatal("the TAP is in our own namespace")
	}
	if got := p.Info().MTU; got != 1300 {
		t.Fatalf("MTU %d, want 1300", got)
	}
	if _, err := OpenTAP(TAPConfig{Name: "away", Namespace: "no-such-namespace"}); err == nil {
		t.Fatal("no error for a namespace that does not exist")
	}
}

func TestDescriptorsThatAreNoQueues(t *testing.T) {
	fd, err := newWake()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, fds := range [][]int{nil, {fd}} {
		if _, err := TAPFromFDs("x", fds); err == nil {
			t.Errorf("%v: no error", fds)
		}
	}
}

func TestBridge(t *testing.T) {
	needTAP(t)
	addVeth(t, "left", "right")
	addBridge(t, "br7", "left")
	near, err := OpenBridgeTAP("br7", TAPConfig{Name: "vnet0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close() }()
	if info := near.Info(); info.Kind != KindBridge || !info.LAN || info.MTU != findLink(t, "br7").Attrs().MTU {
		t.Fatalf("%+v", info)
	}
	far := openTestLAN(t, "right")
	p := recipe{payload: 5000, gso: 1000}.packet()
	send(t, near, p)
	same(t, []ether.Packet{p}, expect(t, far, 1))
	if second, err := OpenBridgeTAP("br7", TAPConfig{Name: "br7", Interface: "vnet%d"}); err != nil {
		t.Fatal(err)
	} else if info := second.Info(); second.Name() != "br7" || info.Interface == "br7" || second.Close() != nil {
		t.Fatalf("%s: %+v", second.Name(), info)
	}
	if _, err := OpenBridgeTAP("left", TAPConfig{Name: "vnet1"}); err == nil {
		t.Fatal("a veth was taken for a bridge")
	}
}

func TestOwnDatagramsAreNotRead(t *testing.T) {
	underlay := []netip.AddrPort{netip.MustParseAddrPort("10.9.0.2:7777")}
	rows := map[string]func(t *testing.T) Port{
		"lan": func(t *testing.T) Port { return openTestLAN(t, "left") },
		"bridge": func(t *testing.T) Port {
			needTAP(t)
			addBridge(t, "br7", "left")
			p, err := OpenBridgeTAP("br7", TAPConfig{Name: "vnet0", Queues: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			return p
		},
	}
	for name, open := range rows {
		t.Run(name, func(t *testing.T) {
			addVeth(t, "left", "right")
			near, far := open(t), openTestLAN(t, "right")
			if err := near.(Underlayer).SetUnderlay(underlay); err != nil {
				t.Fatal(err)
			}
			ours, tagged := recipe{udp: true, dstPort: 7777, payload: 9}, recipe{udp: true, dstPort: 7777, payload: 9, tags: []uint16{ether.TypeVLAN}}
			foreign := recipe{udp: true, dstPort: 7778, payload: 9}
			read := near
			if near.Queues() > 1 {
				read = queuePort{near}
			}
			send(t, far, ours.packet(), tagged.packet(), foreign.packet())
			same(t, []ether.Packet{foreign.packet()}, expect(t, read, 1))
			if err := near.(Underlayer).SetUnderlay(nil); err != nil {
				t.Fatal(err)
			}
			send(t, far, ours.packet())
			same(t, []ether.Packet{ours.packet()}, expect(t, read, 1))
		})
	}
}

// addBridge makes a bridge with one member, both up.
func addBridge(t *testing.T, name, member string) {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1450}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	if err := netlink.LinkSetMaster(findLink(t, member), bridge); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		t.Fatal(err)
	}
}

func TestInterfaces(t *testing.T) {
	addVeth(t, "left", "right")
	lan := openTestLAN(t, "left")
	openTestTAP(t, TAPConfig{Name: "vm1"})
	list, err := Interfaces(lan)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, i := range list {
		got[i.Name] = i.Use + ", " + i.Why
		if i.Name == "right" && (i.MTU != 1500 || i.MAC.IsZero() || i.Kind != "veth" || len(i.Offloads) == 0) {
			t.Errorf("right: %+v", i)
		}
	}
	for name, want := range map[string]string{
		"left": "port left, ", "right": "available, ", "lo": "refused, it is the loopback",
		"vm1": "refused, it is the TAP of port vm1",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

func TestJudge(t *testing.T) {
	rows := []struct {
		c    candidate
		want string
	}{
		{candidate{name: "eth0", kind: "device", ethernet: true, up: true}, "available, "},
		{candidate{name: "eth0", kind: "device", ethernet: true}, "available, it is down"},
		{candidate{name: "eth0", kind: "veth", ethernet: true, up: true, foreign: true}, "available, "},
		{candidate{name: "br0", kind: "bridge", ethernet: true, up: true}, "available, as a bridge: the port becomes one of its members"},
		{candidate{name: "veth12", kind: "veth", ethernet: true, up: true, foreign: true}, "refused, it leads into a container"},
		{candidate{name: "eth1", kind: "device", ethernet: true, up: true, master: "br0"}, "refused, it belongs to br0: use that"},
		{candidate{name: "docker0", kind: "bridge", ethernet: true, up: true}, "refused, it is Docker's"},
		{candidate{name: "br-0123456789ab", kind: "bridge", ethernet: true, up: true}, "refused, it is Docker's"},
		{candidate{name: "br-lan", kind: "bridge", ethernet: true, up: true}, "available, as a bridge: the port becomes one of its members"},
		{candidate{name: "zt3", kind: "tun", ethernet: true, up: true}, "refused, it is ZeroTier's"},
		{candidate{name: "wg0", kind: "wireguard", up: true}, "refused, it is an overlay of kind wireguard"},
		{candidate{name: "vx", kind: "vxlan", ethernet: true, up: true}, "refused, it is an overlay of kind vxlan"},
		{candidate{name: "tun0", kind: "tun", up: true}, "refused, it does not carry Ethernet"},
		{candidate{name: "wlan0", kind: "device", ethernet: true, up: true, wireless: true}, "refused, it is wireless, and an access point drops frames of other addresses than its own"},
	}
	for _, row := range rows {
		if use, why := judge(row.c); use+", "+why != row.want {
			t.Errorf("%+v: %q, want %q", row.c, use+", "+why, row.want)
		}
	}
}
