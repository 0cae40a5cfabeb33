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

// Heads are four headers without text, and what authenticates each.
type Heads struct {
	Nonces [4][16]byte // the first NonceLen bytes of each; the others are Tag's
	Heads  [4][HeadLen]byte
	Tags   [4][Overhead]byte
}
