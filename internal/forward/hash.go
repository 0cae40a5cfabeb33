package forward

import "math/bits"

// The odd constants of wyhash: random bits with as many ones as zeros.
const (
	mixA = 0xa0761d6478bd642f
	mixB = 0xe7037ed1a0b428db
	mixC = 0x8ebc6af09c88c6e3
)

// mix folds two words into one such that each bit of the result depends on all bits of both.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^mixA, b^mixB)
	return hi ^ lo
}

func (k key) hash(seed uint64) uint64 {
	return mix(mix(word(k.src)^seed, word(k.dst)^mixC), uint64(k.arrival)<<8|uint64(k.class))
}

// hashID spreads rule numbers, which come in sequence.
func hashID(id, seed uint64) uint64 { return mix(id^seed, mixC) }
