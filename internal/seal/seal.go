// Package seal hides what two hosts' guests say to each other from the nodes between them: one host seals the payload of a
// frame under a key that only the other shares, and what is on the way is an Ethernet frame with the guests' addresses and
// nothing else to read.
//
// It makes and opens such frames, and agrees on keys. It does not decide which frames are to be sealed, moves none, and
// knows no network: the handshake's messages are carried by whoever calls it. See docs/adr/0014 and part S of docs/protocol.md.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/pki"
)

// EtherType of a sealed frame: local experimental 2 (IEEE 802-2014 §9.2.4, as 0x88B5 of loop probes is the first).
const EtherType = 0x88b6

const (
	version   = 0x76 // 'v': the first byte behind the EtherType, so that other experiments are left alone
	headLen   = ether.HeaderLen + 14
	tagLen    = 16
	nonceLen  = 12
	secretLen = 32

	addresses = 12 // bytes of destination and source, which stay readable

	flagPartial = 0x01 // the checksum is partial: where it starts and goes follows, 2 + 2 bytes
	flagsLen    = 1
	marksLen    = 4
)

// Overhead is the most bytes by which a sealed frame is longer than the frame in it.
const Overhead = headLen - addresses + flagsLen + marksLen + tagLen

// maxLanes is how many workers a node has at most; lane 64 is of notes (Sender.Note).
const (
	maxLanes = 64
	noteLane = maxLanes
)

// When a sender asks for a fresh key, and when it may use the old one no longer.
const (
	// KeyTime is how long a key is used when a fresh one can be had.
	KeyTime = time.Hour
	// KeyFrames is how many frames are sealed with it then: 2^28, half a minute of the fastest link we know.
	KeyFrames = 1 << 28
	// mostFrames ends the use of a key for good. While no control plane carries a handshake the old key goes on; at 9 KB a
	// frame, 2^36 of them leave an attacker an advantage of about 2^-39 against AES-GCM (RFC 9001 appendix B.1), and they
	// take 19 hours at a million a second.
	mostFrames = 1 << 36
)

// ID names a key at its receiver, who chose it: 32 random bits.
type ID uint32

// Scratch is a worker's memory for sealing and opening; its zero value is ready.
type Scratch struct {
	nonce [nonceLen]byte
	head  [headLen]byte
}

// key is one direction's cipher and the mask of its nonces (as in TLS 1.3, RFC 8446 §5.3).
type key struct {
	aead cipher.AEAD
	iv   [nonceLen]byte
}

// exporterLabel is of the secret that a handshake gives its client for sending.
const exporterLabel = "EXPORTER-vnet/1 sealed payload"

// newKey derives a key from a finished handshake; id is part of it, so that both ends mean the same.
func newKey(cs tls.ConnectionState, id ID) (*key, error) {
	secret, err := cs.ExportKeyingMaterial(exporterLabel, binary.BigEndian.AppendUint32(nil, uint32(id)), secretLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	return keyFrom(cs.CipherSuite, secret)
}

// keyFrom makes a key of a secret, for the cipher that TLS chose: it knows what both machines are fast at.
func keyFrom(suite uint16, secret []byte) (*key, error) {
	k, size := &key{}, 16
	if suite != tls.TLS_AES_128_GCM_SHA256 {
		size = 32
	}
	text, err := hkdf.Expand(sha256.New, secret, "vnet/1 seal key "+tls.CipherSuiteName(suite), size)
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	iv, err := hkdf.Expand(sha256.New, secret, "vnet/1 seal iv", nonceLen)
	if err != nil {
		return nil, fmt.Errorf("cannot derive an initial vector: %w", err)
	}
	copy(k.iv[:], iv)
	if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		k.aead, err = chacha20poly1305.New(text)
		return k, err
	}
	block, err := aes.NewCipher(text)
	if err != nil {
		return nil, fmt.Errorf("cannot set up AES: %w", err)
	}
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// nonce masks lane and counter, which occur together once under a key.
func (k *key) nonce(s *Scratch, lane uint8, counter uint64) []byte {
	binary.BigEndian.PutUint32(s.nonce[:], uint32(lane)^binary.BigEndian.Uint32(k.iv[:]))
	binary.BigEndian.PutUint64(s.nonce[4:], counter^binary.BigEndian.Uint64(k.iv[4:]))
	return s.nonce[:]
}

// Peer is who is at the other end of a key.
type Peer struct {
	Name string
	Key  pki.Key
}

// Is tells whether a frame looks sealed. Whether it is, only Open can tell.
func Is(f ether.Frame) bool {
	return len(f) >= headLen+flagsLen+tagLen && binary.BigEndian.Uint16(f[addresses:]) == EtherType && f[ether.HeaderLen] == version
}

// IDOf is whose key a sealed frame says it needs; f.Is.
func IDOf(f ether.Frame) ID { return ID(binary.BigEndian.Uint32(f[ether.HeaderLen+2:])) }
