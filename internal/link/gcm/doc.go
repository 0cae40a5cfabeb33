// Package gcm is AES-GCM (NIST SP 800-38D) for datagrams with a header of one block, on vectors of 512 bits, four blocks an instruction.
//
// It is no general AEAD and has no form for other processors: crypto/cipher is that, against which it is tested, and which its
// caller takes where it is not Available. Nothing in it branches on, or looks up by, a secret.
package gcm

const (
	NonceLen = 12 // bytes
	HeadLen  = 16 // bytes of associated data: exactly one block
	Overhead = 16 // bytes of tag that sealing adds
)

// A text may be in two parts, the first of LeadLeast to LeadMost bytes, the second of at least RestLeast.
const (
	LeadLeast, LeadMost = 64, 127
	RestLeast           = 192
)

// Heads are eight headers without text, of which each has in its last 8 bytes the number that follows the one before it, and
// what authenticates them. Their nonces have it too.
type Heads struct {
	Tags    [8][Overhead]byte
	First   uint64 // the first 8 bytes of all headers, as a big-endian number
	Counter uint64 // the last 8 of the first header
	Front   uint64 // the first 4 bytes of all nonces, as such a number, in its upper half
	Mask    uint64 // the last 8 of a nonce are its header's, combined with these by exclusive or
}
