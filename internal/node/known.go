package node

import "github.com/virtuoso-vnet/virtuoso/internal/ether"

// knownSlots is how many talkers a worker remembers to have reported. A
// collision costs one more report, nothing else.
const knownSlots = 256

// knownSources remembers which MACs a worker has reported, so that learning
// costs one comparison a frame. Owned by its worker.
type knownSources [knownSlots]struct {
	mac  ether.MAC
	port int32 // index + 1; 0 is empty
}

func (k *knownSources) has(m ether.MAC, port int) bool {
	e := &k[k.at(m)]
	return e.port == int32(port)+1 && e.mac == m
}

func (k *knownSources) add(m ether.MAC, port int) {
	e := &k[k.at(m)]
	e.mac, e.port = m, int32(port)+1
}

func (k *knownSources) at(m ether.MAC) int {
	h := uint32(m[5]) | uint32(m[4])<<8 | uint32(m[3])<<16 | uint32(m[2])<<24
	return int(h * 2654435761 >> 24) // Knuth's multiplicative hash, top 8 bits
}
