//go:build !purego

package sum

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// Copy copies head to lead and src to dst, which have room for them, and returns the CRC32C of head and src, one behind the
// other. lead is head, which then is not copied, or overlaps nothing; dst begins where src does or before it, or does not overlap
// it. What is copied over head has been summed before.
func Copy(lead, head, dst, src []byte) uint32 {
	if len(src) < least || !able() {
		return Plain(lead, head, dst, src)
	}
	_, _ = lead[:len(head)], dst[len(src)-1]
	return ^copySum(unsafe.SliceData(lead), unsafe.SliceData(head), len(head), &dst[0], &src[0], len(src))
}

// least is how many bytes the vector form needs: four registers full.
const least = 256

func able() bool {
	x := &cpu.X86
	return x.HasSSE42 && x.HasAVX512F && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VPCLMULQDQ
}

// copySum sums size bytes of head and n of src, at least least. It copies head to lead and src to dst. It leaves out the final
// inversion.
//
//go:noescape
func copySum(lead, head *byte, size int, dst, src *byte, n int) uint32
