package lang

import (
	"slices"
	"strconv"

	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Port is what a port of a node lets in.
type Port struct {
	Node      overlay.Name
	Port      string
	Storm     int // as in overlay.PortLimit
	DropSpoof bool
	Fixed     bool
	MACs      []VMRef // empty: all
	at        Pos
}

// Key is "port".
func (Port) Key() string { return "port" }

// Words is "NODE PORT storm RATE spoof drop fixed macs VM …"; what goes without saying is left out.
func (p Port) Words() []string {
	words := []string{string(p.Node), p.Port}
	switch {
	case p.Storm < 0:
		words = append(words, "storm", "off")
	case p.Storm > 0:
		words = append(words, "storm", strconv.Itoa(p.Storm))
	}
	if p.DropSpoof {
		words = append(words, "spoof", "drop")
	}
	if p.Fixed {
		words = append(words, "fixed")
	}
	if len(p.MACs) > 0 {
		words = append(words, "macs")
	}
	for _, v := range p.MACs {
		words = append(words, v.String())
	}
	if len(words) == 2 { // no limit, which has to be said somehow
		words = append(words, "spoof", "notice")
	}
	return words
}

// maxStorm bounds a rate of flooded frames: more than any port carries.
const maxStorm = 10_000_000

func readPort(r *reader) Statement {
	node := r.node("the node of the port")
	p := Port{Node: node.To, at: node.at}
	p.Port = r.port("the name of the port")
	options := []string{"storm", "spoof", "fixed", "macs"}
	for first := true; !r.failed && len(options) > 0 && (first || len(r.words) > 0); first = false {
		option := r.oneOf("limit of a port", options...)
		options = slices.DeleteFunc(options, func(s string) bool { return s == option })
		switch option {
		case "storm":
			if w, ok := r.peek(); ok && w == "off" {
				r.literal("off")
				p.Storm = overlay.NoStormLimit
				continue
			}
			at := r.at()
			if p.Storm = int(r.number("rate", maxStorm)); p.Storm == 0 {
				r.fail(at, "0 is no rate: write how many flooded frames a second the port may send, or off")
			}
		case "spoof":
			p.DropSpoof = r.oneOf("way with spoofed addresses", "notice", "drop") == "drop"
		case "fixed":
			p.Fixed = true
		case "macs":
			for first := true; !r.failed && (first || len(r.words) > 0); first = false {
				p.MACs = append(p.MACs, r.vm("a VM or MAC address behind macs"))
			}
		}
	}
	return p
}

// limitOf is the limit as the overlay has it.
func (m *Meaning) limitOf(p Port) overlay.PortLimit {
	l := overlay.PortLimit{Node: p.Node, Port: p.Port, Storm: p.Storm, DropSpoof: p.DropSpoof, Fixed: p.Fixed}
	for _, v := range p.MACs {
		if mac, ok := m.Resolve(v); ok {
			l.MACs = append(l.MACs, mac)
		}
	}
	return l
}

// portOf puts a limit into words.
func (n Names) portOf(l overlay.PortLimit) Port {
	p := Port{Node: l.Node, Port: l.Port, Storm: l.Storm, DropSpoof: l.DropSpoof, Fixed: l.Fixed}
	for _, mac := range l.MACs {
		p.MACs = append(p.MACs, n.ref(mac))
	}
	return p
}

// ports judges what is said of ports.
func (j *judge) ports() {
	for _, p := range j.Ports {
		j.node(p.Node, p.at)
		j.port(p.Node, overlay.AtPort(p.Port), p.at)
		j.once("port "+string(p.Node)+" "+p.Port, p.at, "port "+p.Port+" of "+string(p.Node))
		for _, v := range p.MACs {
			j.vm(v)
		}
		if err := j.limitOf(p).Check(); err != nil {
			j.bad.add(p.at, "%v", err)
		}
	}
}
