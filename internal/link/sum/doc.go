// Package sum copies a text and computes its CRC32C (RFC 9260 appendix A) in one pass, on vectors of 512 bits where the
// processor has them.
//
// It authenticates nothing: who may alter a text can alter its sum too. What goes over a trusted link is summed with it.
package sum

import "hash/crc32"

// Plain is Copy without vectors.
func Plain(lead, head, dst, src []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	first := crc32.Checksum(lead[:copy(lead, head)], table)
	return crc32.Update(first, table, dst[:copy(dst, src)])
}
