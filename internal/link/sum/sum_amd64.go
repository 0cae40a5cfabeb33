//go:build !purego

package sum

import "golang.org/x/sys/cpu"

// Copy copies src to dst, which has room for it, and returns the CRC32C of what it copied. dst begins where src does or
// before it, or does not overlap it.
func Copy(dst, src []byte) uint32 {
	if len(src) < least || !able() {
		return Plain(dst, src)
	}
	_ = dst[len(src)-1]
	return ^copySum(&dst[0], &src[0], len(src))
}

// least is how many bytes the vector form needs: four registers full.
const least = 256

func able() bool {
	x := &cpu.X86
	return x.HasSSE42 && x.HasAVX512F && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VPCLMULQDQ
}

// copySum is Copy for n of at least least bytes, without the final inversion.
//
//go:noescape
func copySum(dst, src *byte, n int) uint32
