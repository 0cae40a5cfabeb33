//go:build !purego

package gcm

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// Available says whether this processor has what New needs: AES and carry-less products on vectors of 512 bits.
func Available() bool {
	x := &cpu.X86
	return x.HasAES && x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VAES &&
		x.HasAVX512VBMI && x.HasAVX512VPCLMULQDQ && x.HasBMI2
}

// powers is how many blocks are hashed before the sum is reduced: those of a full datagram.
const powers = 96

// schedule is what assembly needs of a key; it knows the offsets.
type schedule struct {
	round  [15][16]byte
	rounds uint64 // 10 or 14
	_      [8]byte
	// powers of the hash key, byte-reversed and shifted left by one: the highest first, the first, then zeros.
	powers [powers + 4][16]byte
	// of each of them the sum of its halves, twice.
	halves [powers + 4][16]byte
	// what the block of lengths adds to the hash where there is a header and no text.
	lengths [16]byte
}

// Key is one AES-GCM key. It is immutable.
type Key struct{ s schedule }

// New prepares a key of 16 or 32 bytes. It may be called only where the vector form is Available.
func New(key []byte) (*Key, error) {
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k := new(Key)
	k.s.expand(key)
	k.s.hashKey(c)
	return k, nil
}

// expand, of a key of 16 or 32 bytes, makes the round keys (FIPS 197 §5.2). The S-box is the processor's, so that it takes the same time for all keys.
func (s *schedule) expand(key []byte) {
	words := len(key) / 4
	s.rounds = uint64(words + 6)
	var w [60]uint32
	for i := range words {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	constant := uint32(1)
	for i := words; i < 4*(int(s.rounds)+1); i++ {
		t := w[i-1]
		switch {
		case i%words == 0:
			t = substitute(t>>8|t<<24) ^ constant
			if constant <<= 1; constant > 0xff {
				constant ^= 0x11b
			}
		case words == 8 && i%words == 4:
			t = substitute(t)
		}
		w[i] = w[i-words] ^ t
	}
	for i := range w {
		binary.LittleEndian.PutUint32(s.round[i/4][4*(i%4):], w[i])
	}
}

// hashKey fills powers. The hash key is a block of zeros, encrypted (SP 800-38D §7.1).
func (s *schedule) hashKey(c cipher.Block) {
	var block [16]byte
	c.Encrypt(block[:], block[:])
	hi, lo := binary.BigEndian.Uint64(block[:]), binary.BigEndian.Uint64(block[8:])
	top := -(hi >> 63) // all ones where the shift carries out
	hi, lo = hi<<1|lo>>63, lo<<1
	hi, lo = hi^top&0xc2<<56, lo^top&1
	one := &s.powers[powers-1]
	binary.LittleEndian.PutUint64(one[:], lo)
	binary.LittleEndian.PutUint64(one[8:], hi)
	for i := powers - 2; i >= 0; i-- {
		multiply(&s.powers[i], &s.powers[i+1], one)
	}
	multiply(&s.lengths, &[16]byte{8: 8 * HeadLen}, one)
	for i := range s.halves {
		p := &s.powers[i]
		sum := binary.LittleEndian.Uint64(p[:]) ^ binary.LittleEndian.Uint64(p[8:])
		binary.LittleEndian.PutUint64(s.halves[i][:], sum)
		binary.LittleEndian.PutUint64(s.halves[i][8:], sum)
	}
}

// Seal encrypts src to dst, which has room for Overhead bytes more, and authenticates it with head. dst and src are the same
// memory or do not overlap.
func (k *Key) Seal(dst, src []byte, nonce *[NonceLen]byte, head *[HeadLen]byte) {
	tag := (*[Overhead]byte)(dst[len(src):])
	crypt(&k.s, start(dst), start(src), len(src), nonce, head, tag, 0, nil, 0)
}

// SealApart is Seal for a text whose first bytes, LeadLeast to LeadMost of them, are in lead, and the others, at least RestLeast,
// in src from where they would begin if the first lay in front of them. dst overlaps neither.
func (k *Key) SealApart(dst []byte, lead *[128]byte, apart int, src []byte, nonce *[NonceLen]byte, head *[HeadLen]byte) {
	fits(apart, len(src))
	tag := (*[Overhead]byte)(dst[len(src):])
	crypt(&k.s, &dst[0], &src[0], len(src), nonce, head, tag, 0, lead, apart)
}

// fits panics where a text cannot be in two parts.
func fits(apart, n int) {
	if apart < LeadLeast || apart > LeadMost || n-apart < RestLeast {
		panic("gcm: a text that cannot be in two parts")
	}
}

// Open decrypts src, which ends with its tag, to dst. It returns false, and zeros in dst, where src and head are not what was
// sealed. dst begins where src does or before it, or does not overlap it.
func (k *Key) Open(dst, src []byte, nonce *[NonceLen]byte, head *[HeadLen]byte) bool {
	return len(src) >= Overhead && k.open(dst[:len(src)-Overhead], src, nonce, head, nil, 0)
}

// OpenApart is Open, but that the first bytes, LeadLeast to LeadMost of them, go to lead, which more of them may be written to,
// and the others, at least RestLeast, behind as many bytes of dst that stay.
func (k *Key) OpenApart(dst []byte, lead *[128]byte, apart int, src []byte, nonce *[NonceLen]byte, head *[HeadLen]byte) bool {
	fits(apart, len(src)-Overhead)
	return k.open(dst[:len(src)-Overhead], src, nonce, head, lead, apart)
}

func (k *Key) open(dst, src []byte, nonce *[NonceLen]byte, head *[HeadLen]byte, lead *[128]byte, apart int) bool {
	n := len(dst)
	var tag [Overhead]byte
	crypt(&k.s, start(dst), start(src), n, nonce, head, &tag, 1, lead, apart)
	first := binary.NativeEndian.Uint64(tag[:]) ^ binary.NativeEndian.Uint64(src[n:])
	last := binary.NativeEndian.Uint64(tag[8:]) ^ binary.NativeEndian.Uint64(src[n+8:])
	if first|last == 0 { // takes the same time wherever they differ
		return true
	}
	clear(dst[apart:])
	if lead != nil {
		clear(lead[:])
	}
	return false
}

// Tag makes the tags of all at once, which takes about as long as making one.
func (k *Key) Tag(h *Heads) { tags(&k.s, h) }

func start(b []byte) *byte {
	if len(b) == 0 {
		return nil
	}
	return &b[0]
}

//go:noescape
func crypt(k *schedule, dst, src *byte, n int, nonce *[NonceLen]byte, head *[HeadLen]byte, tag *[Overhead]byte, open int, lead *[128]byte, apart int)

//go:noescape
func tags(k *schedule, h *Heads)

//go:noescape
func multiply(product, a, b *[16]byte)

func substitute(w uint32) uint32
