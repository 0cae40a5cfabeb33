//go:build !amd64 || purego

package sum

// Copy copies src to dst, which has room for it, and returns the CRC32C of what it copied. dst begins where src does or
// before it, or does not overlap it.
func Copy(dst, src []byte) uint32 { return Plain(dst, src) }
