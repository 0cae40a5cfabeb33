package control

import (
	"net/netip"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// Hello is the first message of a host on a new control stream: who it is and what it really has, so that the Proxy plans
// from the node's state and not from its own memory of it.
type Hello struct {
	Name       overlay.Name
	Version    string // of the program, for status only
	Boot       uint64 // increases with each start of the daemon (its start in microseconds since 1970)
	Ports      []PortInfo
	Candidates []netip.AddrPort // where its underlay socket may be reached
	Links      []LinkInfo       // the links it has now, the star included
	Rules      []overlay.Rule   // the rules it has now
	Generation uint64           // of the overlay these rules came from; 0 = none yet
	Trust      uint64           // number of the newest trust list it has, plus 1; 0 = a version that knows of none
}

// PortInfo describes one port of a host in its Hello.
type PortInfo struct {
	Name string
	LAN  bool // an existing interface, behind which strangers live
	MTU  int  // bytes of payload, without the Ethernet header
}

// LinkInfo describes one link a host has.
type LinkInfo struct {
	Peer    overlay.Name
	Origin  overlay.Origin
	Carrier string // "udp" or "tcp"
	Up      bool   // heard within the last three heartbeats
	RTT     time.Duration
}

// Announce tells the Proxy which MACs were seen on local ports since the announcement before.
type Announce struct {
	Boot uint64 // as in Hello
	Seq  uint64 // increases with each announcement of one boot
	Seen []Sighting
}

// Sighting is one MAC at one port.
type Sighting struct {
	MAC        ether.MAC
	Port       string
	IPs        []netip.Addr // addresses it was seen to use, at most maxIPs are kept
	Gratuitous bool         // it sent a gratuitous ARP or RARP: it says itself that it has moved
	Gone       bool         // it is no longer here: the port was closed
}

// Welcome answers a Hello.
type Welcome struct {
	Proxy      overlay.Name
	Overlay    string // name of the overlay
	Boot       uint64 // of the Proxy, as in Hello
	Generation uint64 // of the overlay as the Proxy has it
	Bound      time.Duration
	Flood      bool      // whether the flood tree is on
	ProbeKey   []byte    // signs loop probes; known to the nodes of this overlay only
	Now        time.Time // the Proxy's clock; zero from 0.1.0
}

// Tune tells a host how often the Proxy wants to hear of its traffic, and what its ports let in.
type Tune struct {
	Report time.Duration       // between two reports
	Ports  []overlay.PortLimit // of all ports of the host that are limited; what it says of nodes is not sent
}

// Directory tells hosts where MACs live. Full replaces all that was told before; otherwise Places are added or replaced
// and Gone are removed.
type Directory struct {
	Version uint64
	Full    bool
	Places  []Place
	Gone    []ether.MAC
}

// Place is where one MAC lives.
type Place struct {
	MAC      ether.MAC
	Node     overlay.Name
	Port     string
	Mobility uint64       // +1 each time a different place claims the MAC; the higher number is the newer place
	IPs      []netip.Addr // sorted
	Declared bool         // said by the user, not learned
}

// Stage is one stage of a change (docs/design.md, "The life of a decision").
type Stage uint8

// The stages in the order a node passes through them. Abort may come instead of any but the first.
const (
	StageNone    Stage = iota // nothing reached
	StagePrepare              // links opened and proven, rules installed that are inert until a source flips
	StageFlip                 // rules at sources
	StageFinish               // old rules at sources gone
	StageDelete               // everything else that is old gone
	StageAbort                // taken back
)

func (s Stage) String() string {
	switch s {
	case StageNone:
		return "none"
	case StagePrepare:
		return "prepare"
	case StageFlip:
		return "flip"
	case StageFinish:
		return "finish"
	case StageDelete:
		return "delete"
	case StageAbort:
		return "abort"
	}
	return "unknown"
}

// LinkSpec asks one end to open a link.
type LinkSpec struct {
	Peer       overlay.Name
	PeerAddrs  []netip.AddrPort // candidates of the peer
	Dial       bool             // this end dials; if both ends do, see Stays
	Origin     overlay.Origin
	Carrier    string // "udp", "tcp" or empty for either
	Cipher     string // that the user wants for the two nodes; empty = as they have it
	ExtraPorts int    // that the user wants them to send from, beside the first; 0 = as they have it
}

// StageRequest asks a node to carry out one stage of a change. A request repeated is answered again, not carried out again.
type StageRequest struct {
	Change      uint64
	Stage       Stage
	OpenLinks   []LinkSpec     // with StagePrepare only
	AddRules    []overlay.Rule // added and deleted in one publication of the table; with StageAbort, what takes the change
	DeleteRules []uint64       // back at a node that has forgotten it (restarted); others know better themselves
	CloseLinks  []overlay.Name // peers; closed after the rules are gone
	Generation  uint64         // of the overlay this change leads to
	Wait        time.Duration  // with StageAbort: keep prepared rules and links this long for stragglers of flipped sources
}

// StageReply answers a StageRequest.
type StageReply struct {
	Change uint64
	Stage  Stage
	OK     bool
	Error  string // why not, in the user's words
	Opened []overlay.Name
	Failed []LinkFailure
	Took   time.Duration // at the node
}

// LinkFailure is a link that could not be opened or proven, as one of its ends saw it.
type LinkFailure struct {
	Peer  overlay.Name
	Error string
}

// Call asks another node for what a client of this one wants. ID is chosen by the asker and unique within its stream.
type Call struct {
	ID     uint64
	Node   overlay.Name // who is to answer; the Proxy passes it on
	Method string
	Body   []byte
}

// Answer answers the Call with the same ID.
type Answer struct {
	ID    uint64
	Body  []byte
	Code  string // of the error, empty when there is none
	Error string
}
