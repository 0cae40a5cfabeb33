package patterns

import "encoding/binary"

// The constants of splitmix64 (Steele, Lea, Flood 2014): odd, with well mixed bits.
const (
	step    = 0x9e3779b97f4a7c15
	scatter = 0xbf58476d1ce4e5b9
	blend   = 0x94d049bb133111eb
)

// contentSeed names the pseudo-random stream of one message.
func contentSeed(from, to int, iteration uint64, phase int) uint64 {
	x := mix(uint64(from)<<32 | uint64(to)<<16 | uint64(phase))
	return mix(x ^ iteration*step)
}

// mix is the finisher of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * scatter
	x = (x ^ x>>27) * blend
	return x ^ x>>31
}

// word is the k-th eight bytes of a stream: one multiplication, so that several GB/s are no burden, and
// addressable, so that a reader may start anywhere.
func word(seed, k uint64) uint64 {
	x := seed + k*step
	x = (x ^ x>>32) * scatter
	return x ^ x>>29
}

// fill writes the stream from offset, a multiple of 8, into b.
func fill(b []byte, seed, offset uint64) {
	k := offset / 8
	for ; len(b) >= 8; k++ {
		binary.LittleEndian.PutUint64(b, word(seed, k))
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		binary.LittleEndian.PutUint64(tail[:], word(seed, k))
		copy(b, tail[:])
	}
}

// mismatch returns the index of the first byte of b that differs from the stream at offset, a multiple
// of 8, or -1.
func mismatch(b []byte, seed, offset uint64) int {
	k, at := offset/8, 0
	for ; len(b)-at >= 8; at += 8 {
		if binary.LittleEndian.Uint64(b[at:at+8]) != word(seed, k) {
			break
		}
		k++
	}
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], word(seed, k))
	for i := 0; at+i < len(b); i++ {
		if b[at+i] != want[i] {
			return at + i
		}
	}
	return -1
}
