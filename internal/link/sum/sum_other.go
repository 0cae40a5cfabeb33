//go:build !amd64 || purego

package sum

// Copy copies head to lead and src to dst, which have room for them, and returns the CRC32C of head and src, one behind the
// other. lead is head, which then is not copied, or overlaps nothing; dst begins where src does or before it, or does not overlap
// it. What is copied over head has been summed before.
func Copy(lead, head, dst, src []byte) uint32 { return Plain(lead, head, dst, src) }
