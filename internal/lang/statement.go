package lang

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Interface is a port of a node and the interface of the machine under it.
type Interface struct{ Port, Device string }

// word is PORT, or PORT=INTERFACE where they differ.
func (i Interface) word() string {
	if i.Device == i.Port {
		return i.Port
	}
	return i.Port + "=" + i.Device
}

// Node is a daemon and the machine it runs on.
type Node struct {
	Name    overlay.Name
	Proxy   bool
	User    string // to reach the machine as; empty = whatever ssh says
	Machine string // a host name, an address, or an alias of the user's ssh; empty = not started by launch
	Port    uint16 // of the daemon, UDP and TCP; 0 = the overlay's default
	TAPs    []Interface
	LANs    []Interface
	at      Pos
}

// Key is "node".
func (Node) Key() string { return "node" }

// Words is "NAME ROLE [USER] AT MACHINE PORT tap … lan …".
func (n Node) Words() []string {
	words := []string{string(n.Name), "host"}
	if n.Proxy {
		words[1] = "proxy"
	}
	if n.Machine != "" {
		if n.User != "" {
			words = append(words, n.User)
		}
		words = append(words, "AT", n.Machine)
		if n.Port != 0 {
			words = append(words, strconv.Itoa(int(n.Port)))
		}
	}
	for _, i := range n.TAPs {
		words = append(words, "tap", i.word())
	}
	for _, i := range n.LANs {
		words = append(words, "lan", i.word())
	}
	return words
}

func readNode(r *reader) Statement {
	name := r.node("the name of the node")
	n := Node{Name: name.To, at: name.at}
	n.Proxy = r.oneOf("role", "proxy", "host") == "proxy"
	if w, ok := r.peek(); ok && len(r.words) > 1 && !isAT(w) && isAT(r.words[1].text) {
		n.User = r.login()
	}
	if w, ok := r.peek(); ok && isAT(w) {
		r.take("AT")
		if w, ok := r.take("the machine behind AT"); ok {
			if n.Machine = w.text; !machine(w.text) {
				r.fail(w.at, "%q is no machine: write a host name, an address, or a Host of your ssh configuration", clip(w.text))
			}
		}
		if w, ok := r.peek(); ok && w[0] >= '0' && w[0] <= '9' {
			if n.Port = uint16(r.number("port", math.MaxUint16)); n.Port == 0 {
				r.fail(r.at(), "0 is no port: write a number from 1 to 65535")
			}
		}
	}
	for len(r.words) > 0 && !r.failed {
		switch r.oneOf("part of a node", "tap", "lan", "AT") {
		case "tap":
			n.TAPs = append(n.TAPs, r.iface())
		case "lan":
			n.LANs = append(n.LANs, r.iface())
		case "AT":
			r.fail(r.at(), "AT stands once, behind the role and the user: %s", form("node"))
		}
	}
	return n
}

func isAT(s string) bool { return s == "AT" || s == "at" }

// login takes a user's name as Linux has them (useradd(8)).
func (r *reader) login() string {
	w, _ := r.take("a user")
	for i, c := range w.text {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.')
		if !ok || len(w.text) > 32 {
			r.fail(w.at, "%q is no user: write up to 32 letters, digits and _ - .", clip(w.text))
			break
		}
	}
	return w.text
}

// machine says whether s may name a machine; what begins with - would be an option of ssh.
func machine(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !(i > 0 && strings.ContainsRune("-._:%", c)) && !(i == 0 && c == ':') {
			return false
		}
	}
	return s != ""
}

func (r *reader) iface() Interface {
	w, ok := r.take("the name of a port")
	if !ok {
		return Interface{}
	}
	name, device, two := strings.Cut(w.text, "=")
	if !two {
		device = name
	}
	for _, s := range []string{name, device} {
		if overlay.ValidPort(s) != nil {
			r.fail(w.at, "%q is no port: write NAME or NAME=INTERFACE, of letters, digits and - _ . @", clip(w.text))
		}
	}
	return Interface{name, device}
}

// VM is a name for an address, and where it lives.
type VM struct {
	Name string
	MAC  ether.MAC
	Node overlay.Name // empty = wherever it is seen
	Port string       // empty = whichever port
	at   Pos
}

// Key is "vm".
func (VM) Key() string { return "vm" }

// Words is "NAME MAC at NODE port PORT".
func (v VM) Words() []string {
	words := []string{v.Name, v.MAC.String()}
	if v.Node != "" {
		words = append(words, "at", string(v.Node))
		if v.Port != "" {
			words = append(words, "port", v.Port)
		}
	}
	return words
}

func readVM(r *reader) Statement {
	w, ok := r.take("the name of the VM")
	v := VM{Name: w.text, at: w.at}
	if _, err := ether.ParseMAC(w.text); ok && err == nil {
		r.fail(w.at, "%s is an address where the name of the VM is expected: %s", w.text, form("vm"))
	} else if why := badVMName(w.text); ok && why != "" {
		r.fail(w.at, "%q is no name of a VM: %s", clip(w.text), why)
	}
	v.MAC = r.mac()
	if len(r.words) > 0 && !r.failed {
		r.literal("at")
		v.Node = r.node("the node where the VM is").To
	}
	if len(r.words) > 0 && !r.failed {
		r.literal("port")
		v.Port = r.port("the port of the VM")
	}
	return v
}

// Link is a link between two nodes.
type Link struct {
	A, B       overlay.Name // as written
	Carrier    string       // udp or tcp; empty = auto
	Cipher     string       // empty = auto
	ExtraPorts int          // that it sends from beside the first
	at         Pos
}

// maxExtraPorts is how many ports a link can send from beside the first.
const maxExtraPorts = 7

// Key is "link".
func (Link) Key() string { return "link" }

// Words is "NODE NODE carrier CARRIER cipher CIPHER extra-ports NUMBER".
func (l Link) Words() []string {
	words := []string{string(l.A), string(l.B)}
	if l.Carrier != "" {
		words = append(words, "carrier", l.Carrier)
	}
	if l.Cipher != "" {
		words = append(words, "cipher", l.Cipher)
	}
	if l.ExtraPorts != 0 {
		words = append(words, "extra-ports", strconv.Itoa(l.ExtraPorts))
	}
	return words
}

func readLink(r *reader) Statement {
	a, b := r.ends()
	l := Link{A: a.To, B: b.To, at: a.at}
	options := []string{"carrier", "cipher", "extra-ports"}
	for len(r.words) > 0 && !r.failed && len(options) > 0 {
		option := r.oneOf("option of a link", options...)
		options = slices.DeleteFunc(options, func(s string) bool { return s == option })
		switch option {
		case "carrier":
			l.Carrier = notAuto(r.oneOf("carrier", "auto", "udp", "tcp"))
		case "extra-ports":
			l.ExtraPorts = int(r.number("number of extra ports", maxExtraPorts))
		case "cipher":
			l.Cipher = notAuto(r.oneOf("cipher", "auto", "aes-128-gcm", "aes-256-gcm", "chacha20-poly1305", "trusted"))
		}
	}
	return l
}

// notAuto is empty for what goes without saying.
func notAuto(word string) string {
	if word == "auto" {
		return ""
	}
	return word
}

// ends takes two different nodes.
func (r *reader) ends() (a, b Ref[overlay.Name]) {
	a, b = r.node("the first node"), r.node("the second node")
	if a.To == b.To && !r.failed {
		r.fail(b.at, "%s twice: name two nodes", b.To)
	}
	return a, b
}

// Rule is a forwarding rule at a node.
type Rule struct {
	Node     overlay.Name
	From     overlay.Side
	Src, Dst Address
	To       overlay.Side
	at       Pos
}

// Address is what a rule asks of an address: of Exact and Not, of this VM's.
type Address struct {
	Kind overlay.MatchKind
	VM   VMRef
}

// words is "any", "none", "VM" or "not VM".
func (a Address) words() []string {
	switch a.Kind {
	case overlay.Any:
		return []string{"any"}
	case overlay.None:
		return []string{"none"}
	case overlay.Not:
		return []string{"not", a.VM.String()}
	}
	return []string{a.VM.String()}
}

// Key is "rule".
func (Rule) Key() string { return "rule" }

// Words is "NODE from SIDE src ADDRESS dst ADDRESS to SIDE"; a rule from any side does not say so.
func (u Rule) Words() []string {
	words := []string{string(u.Node)}
	if u.From.Kind != overlay.AnySide {
		words = append(words, "from", u.From.String())
	}
	words = append(append(words, "src"), u.Src.words()...)
	words = append(append(words, "dst"), u.Dst.words()...)
	return append(words, "to", u.To.String())
}

func readRule(r *reader) Statement {
	node := r.node("the node that holds the rule")
	u := Rule{Node: node.To, at: node.at}
	if r.oneOf("word of a rule", "from", "src") == "from" {
		u.From = r.side("where the frame came in (any, port:NAME or link:NODE)")
		r.literal("src")
	}
	u.Src = r.address()
	at := r.at()
	r.literal("dst")
	u.Dst = r.address()
	r.literal("to")
	u.To = r.side("where the frame goes (port:NAME or link:NODE)")
	if r.failed {
		return u
	}
	switch {
	case u.To.Kind == overlay.AnySide:
		r.fail(node.at, "a rule sends to port:NAME or link:NODE, not to any")
	case u.From == u.To:
		r.fail(node.at, "no frame leaves by the side it came in by: name another side")
	case u.Src.Kind == overlay.None:
		r.fail(node.at, "none is allowed only as destination (a default rule): use any as source")
	case u.Src.Kind == overlay.Not && u.Dst.Kind == overlay.Not:
		r.fail(at, "not on both sides has no meaning in a forwarding table: use any on one side")
	}
	return u
}

func (r *reader) address() Address {
	w, ok := r.take("an address (a VM, a MAC address, not VM, any or none)")
	switch {
	case !ok:
		return Address{}
	case w.text == "any":
		return Address{Kind: overlay.Any}
	case w.text == "none":
		return Address{Kind: overlay.None}
	case w.text == "not":
		return Address{Kind: overlay.Not, VM: r.vm("the VM or MAC address behind not")}
	}
	return Address{Kind: overlay.Exact, VM: r.vmOf(w)}
}
