package link

import (
	"fmt"
	"slices"

	"golang.org/x/sys/cpu"
)

// Cipher is what keeps the frames of a link from others. Over tcp none is without, and TLS is what does with a peer that knows no
// blocks.
type Cipher uint8

const (
	AutoCipher Cipher = iota // what is fastest at the slower end
	AES128                   // AES-128-GCM: the fastest where the processor has AES
	ChaCha20                 // ChaCha20-Poly1305: constant time and three times faster than AES without hardware
	AES256                   // AES-256-GCM: for those who must
	Trusted                  // no cipher: the header is authenticated, the payload has a checksum, anybody on the way can read it
)

func (c Cipher) String() string {
	switch c {
	case AutoCipher:
		return "auto"
	case AES128:
		return "aes-128-gcm"
	case ChaCha20:
		return "chacha20-poly1305"
	case AES256:
		return "aes-256-gcm"
	case Trusted:
		return "trusted"
	}
	return fmt.Sprintf("cipher %d", uint8(c))
}

// ParseCipher reads a name as String writes it; empty is auto.
func ParseCipher(s string) (Cipher, error) {
	if s == "" {
		return AutoCipher, nil
	}
	for c := AutoCipher; c <= Trusted; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("cannot use cipher %q: give auto, aes-128-gcm, aes-256-gcm, chacha20-poly1305 or trusted", s)
}

// keyLen is the length of its key in bytes.
func (c Cipher) keyLen() int {
	if c == ChaCha20 || c == AES256 {
		return 32
	}
	return 16
}

func (c Cipher) known() bool { return AES128 <= c && c <= Trusted }

// preferred lists the ciphers of this machine, the fastest first. Trusted is none of them: only a user names it.
func preferred() []Cipher {
	if cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL || cpu.S390X.HasAESGCM {
		return []Cipher{AES128, ChaCha20, AES256}
	}
	return []Cipher{ChaCha20, AES128, AES256}
}

// offer is what a dialler with this wish says it takes. One that trusts the link takes ciphers too: the other end may not
// have been told.
func (c Cipher) offer() []Cipher {
	switch c {
	case AutoCipher:
		return preferred()
	case Trusted:
		return append([]Cipher{Trusted}, preferred()...)
	}
	return []Cipher{c}
}

// choose is the acceptor's answer to an offer: trusted if both ends name the link so, else what one end insists on, else
// what is fastest at the slower end.
func (c Cipher) choose(theirs []Cipher) (Cipher, error) {
	trusts := slices.Contains(theirs, Trusted)
	if c == Trusted && trusts {
		return Trusted, nil
	}
	theirs = slices.DeleteFunc(slices.Clone(theirs), func(one Cipher) bool { return one == Trusted })
	if c == AutoCipher || c == Trusted {
		return chooseCipher(preferred(), theirs)
	}
	return chooseCipher([]Cipher{c}, theirs)
}

// chooseCipher picks AES-128 only when both ends put it first: the slower end decides what a link can carry.
func chooseCipher(ours, theirs []Cipher) (Cipher, error) {
	first := len(ours) > 0 && len(theirs) > 0 && ours[0] == AES128 && theirs[0] == AES128
	if first {
		return AES128, nil
	}
	for _, c := range []Cipher{ChaCha20, AES128, AES256} {
		if slices.Contains(ours, c) && slices.Contains(theirs, c) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("cannot agree on a cipher: this node takes %v, the peer %v", ours, theirs)
}
