package overlay

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// PortLimit is what the user lets in at one port. The zero limit lets in everybody, and floods as DefaultStorm says.
type PortLimit struct {
	Node      Name
	Port      string
	MACs      []ether.MAC // that may send there, and nowhere that is not limited to them too; empty: all
	Storm     int         // flooded frames a second; 0: DefaultStorm, NoStormLimit: any number
	DropSpoof bool        // ARP and neighbour discovery in the name of another's address is dropped, not only noticed
	Fixed     bool        // MACs seen there stay there, whoever claims them elsewhere, until they have aged or are declared
}

const (
	// DefaultStorm is how many flooded frames a second a port may send, in bursts of twice as many: three streams of
	// television, or a LAN of thousands that asks by ARP. Each is copied to every host.
	DefaultStorm = 5000
	// NoStormLimit is for ports that may flood the overlay.
	NoStormLimit = -1
	// maxStorm and maxPortMACs bound what a limit may say.
	maxStorm    = 10_000_000
	maxPortMACs = 1024
)

// Check says what is wrong with a limit.
func (l PortLimit) Check() error {
	if err := ValidName(string(l.Node)); err != nil {
		return err
	}
	return l.CheckPort()
}

// CheckPort is Check for who knows what node it is about.
func (l PortLimit) CheckPort() error {
	if err := ValidPort(l.Port); err != nil {
		return err
	}
	switch {
	case len(l.MACs) > maxPortMACs:
		return fmt.Errorf("cannot limit port %s to %d addresses: at most %d are allowed", l.Port, len(l.MACs), maxPortMACs)
	case l.Storm < NoStormLimit || l.Storm > maxStorm:
		return fmt.Errorf("cannot limit port %s to %d flooded frames a second: give a number up to %d, or off", l.Port, l.Storm, maxStorm)
	}
	for _, mac := range l.MACs {
		if mac.IsGroup() || mac.IsZero() {
			return fmt.Errorf("cannot limit port %s to %s: it is nobody's own address", l.Port, mac)
		}
	}
	return nil
}

// IsZero says that the limit changes nothing.
func (l PortLimit) IsZero() bool {
	return len(l.MACs) == 0 && l.Storm == 0 && !l.DropSpoof && !l.Fixed
}

// normal puts the addresses in order, each once.
func (l PortLimit) normal() PortLimit {
	l.MACs = slices.Clone(l.MACs)
	slices.SortFunc(l.MACs, ether.MAC.Compare)
	if l.MACs = slices.Compact(l.MACs); len(l.MACs) == 0 {
		l.MACs = nil
	}
	return l
}

func (l PortLimit) compare(m PortLimit) int {
	return cmp.Or(cmp.Compare(l.Node, m.Node), cmp.Compare(l.Port, m.Port))
}

// PortLimit is the limit of a port; zero but for its names when there is none.
func (w Will) PortLimit(node Name, port string) PortLimit {
	for _, l := range w.Ports {
		if l.Node == node && l.Port == port {
			return l
		}
	}
	return PortLimit{Node: node, Port: port}
}

// WithPort is the will with a port's limit replaced; a zero limit takes it out.
func (w Will) WithPort(l PortLimit) Will {
	w = w.Clone()
	w.Ports = slices.DeleteFunc(w.Ports, func(m PortLimit) bool { return m.Node == l.Node && m.Port == l.Port })
	if !l.IsZero() {
		w.Ports = append(w.Ports, l)
	}
	return w.Normal()
}
