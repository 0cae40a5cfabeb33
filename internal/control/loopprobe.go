package control

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// ProbeEtherType marks loop probes: the first EtherType for local experiments (IEEE 802).
	ProbeEtherType = 0x88B5
	// probeMagic and probeVersion begin each probe, since strangers may use the same EtherType.
	probeMagic   = "vnlp"
	probeVersion = 1
	// probeMACLen is how many bytes of signature a probe carries: 128 bits cannot be guessed.
	probeMACLen = 16
	// maxProbeName bounds each of the three names, in bytes: one length byte, and a node's name has at most 63.
	maxProbeName = 255
	// probeFixed is the length of a probe without names and signature: magic, version, 3 name lengths, started, seq.
	probeFixed = len(probeMagic) + 1 + 3 + 8 + 8
)

// ProbeDestination is the group address probes are sent to: locally administered, so that bridges flood it.
func ProbeDestination() ether.MAC { return ether.MAC{0x03, 'v', 'n', 'e', 't', 0x01} }

// Probe is what a LAN port sends each second so that other ports find out that they are on the same LAN.
type Probe struct {
	Overlay string
	Node    overlay.Name
	Port    string
	Started uint64 // when the port was opened, microseconds since 1970; the older port has the lower number
	Seq     uint64 // increases with each probe of one port
}

// A Signer computes a signature of at least 16 bytes over a probe, with a key only nodes of the overlay have (an HMAC).
type Signer func(probe []byte) []byte

// Encode lays out a signed probe, the payload of an Ethernet frame:
// magic(4) version(1) then each name as length(1) bytes, started(8) seq(8) signature(16), big endian.
func (p Probe) Encode(sign Signer) ([]byte, error) {
	b := append(make([]byte, 0, 128), probeMagic...)
	b = append(b, probeVersion)
	for _, name := range []string{p.Overlay, string(p.Node), p.Port} {
		if len(name) > maxProbeName {
			return nil, fmt.Errorf("cannot encode a loop probe: name %q has more than %d bytes", name, maxProbeName)
		}
		b = append(b, byte(len(name)))
		b = append(b, name...)
	}
	b = binary.BigEndian.AppendUint64(b, p.Started)
	b = binary.BigEndian.AppendUint64(b, p.Seq)
	sum := sign(b)
	if len(sum) < probeMACLen {
		return nil, fmt.Errorf("cannot sign a loop probe: the signature has %d bytes, %d are needed", len(sum), probeMACLen)
	}
	return append(b, sum[:probeMACLen]...), nil
}

// probeError is what DecodeProbe objects to.
type probeError string

const (
	errProbeForeign probeError = "cannot read a loop probe: it is none of ours"
	errProbeShort   probeError = "cannot read a loop probe: it is cut short"
	errProbeSigned  probeError = "cannot read a loop probe: its signature is wrong"
)

func (e probeError) Error() string { return string(e) }

// DecodeProbe reads a probe; bytes behind it are padding of the frame. Nothing but lengths is looked at before the signature
// was checked.
func DecodeProbe(b []byte, sign Signer) (Probe, error) {
	if len(b) < probeFixed+probeMACLen {
		return Probe{}, errProbeShort
	}
	if string(b[:len(probeMagic)]) != probeMagic || b[len(probeMagic)] != probeVersion {
		return Probe{}, errProbeForeign
	}
	var names [3]string
	at := len(probeMagic) + 1
	for i := range names {
		if at >= len(b) || len(b) < at+1+int(b[at]) {
			return Probe{}, errProbeShort
		}
		n := int(b[at])
		names[i] = string(b[at+1 : at+1+n])
		at += 1 + n
	}
	if len(b) < at+8+8+probeMACLen {
		return Probe{}, errProbeShort
	}
	body := b[:at+8+8]
	sum := sign(body)
	if len(sum) < probeMACLen || subtle.ConstantTimeCompare(sum[:probeMACLen], b[len(body):len(body)+probeMACLen]) != 1 {
		return Probe{}, errProbeSigned
	}
	return Probe{
		Overlay: names[0], Node: overlay.Name(names[1]), Port: names[2],
		Started: binary.BigEndian.Uint64(b[at:]), Seq: binary.BigEndian.Uint64(b[at+8:]),
	}, nil
}

// younger says whether p's port gives way to o's: opened later, or at once and with the higher name.
func (p Probe) younger(o Probe) bool {
	switch {
	case p.Started != o.Started:
		return p.Started > o.Started
	case p.Node != o.Node:
		return p.Node > o.Node
	}
	return p.Port > o.Port
}

// samePort says whether two probes are of one port.
func (p Probe) samePort(o Probe) bool { return p.Node == o.Node && p.Port == o.Port }
