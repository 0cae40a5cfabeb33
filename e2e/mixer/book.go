package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
)

// book keeps the accounts. Any goroutine may write in it.
type book struct {
	mu     sync.Mutex // guards the following
	report Report
	seen   map[string]map[uint64]bool
	closed bool
}

func newBook() *book {
	return &book{report: Report{Sent: map[string]int{}, Received: map[string]*Account{}}, seen: map[string]map[uint64]bool{}}
}

func (b *book) sent(kind string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Sent[kind] += n
}

func (b *book) good(kind string, number uint64, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(kind)
	a.Bytes += int64(bytes)
	seen := b.seen[kind]
	if seen == nil {
		seen = map[uint64]bool{}
		b.seen[kind] = seen
	}
	if seen[number] {
		a.Twice++
		return
	}
	seen[number] = true
	a.Good++
}

// wrong notes damage. format says what it looks like.
func (b *book) wrong(kind, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.account(kind).Wrong++
	if len(b.report.Wrong) < 5 {
		b.report.Wrong = append(b.report.Wrong, kind+": "+fmt.Sprintf(format, args...))
	}
}

// trouble notes the first thing that went wrong here, rather than on the way.
func (b *book) trouble(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.report.Trouble == "" {
		b.report.Trouble = err.Error()
	}
}

func (b *book) account(kind string) *Account {
	a := b.report.Received[kind]
	if a == nil {
		a = &Account{}
		b.report.Received[kind] = a
	}
	return a
}

func (b *book) close() Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.report
}

// hash is 64 bits of two polynomials, both of which processors have instructions for.
func hash(parts ...[]byte) uint64 {
	var a, b uint32
	for _, part := range parts {
		a = crc32.Update(a, crc32.MakeTable(crc32.Castagnoli), part)
		b = crc32.Update(b, crc32.IEEETable, part)
	}
	return uint64(a)<<32 | uint64(b)
}

// letters are what contents are cut from.
type letters []byte

const lettersLen = 1 << 20

func newLetters() letters {
	b := make([]byte, 2*lettersLen)
	x := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < lettersLen; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		v := x
		switch x >> 61 {
		case 0:
			v = 0 // runs that ones' complement and compression like
		case 1:
			v = ^uint64(0)
		}
		binary.LittleEndian.PutUint64(b[i:], v)
	}
	copy(b[lettersLen:], b)
	return b
}

// of are n bytes that depend on the number; n is at most lettersLen.
func (l letters) of(number uint64, n int) []byte {
	at := number * 7919 % lettersLen
	return l[at : at+uint64(n)]
}

// A message is its head and its content: the number, the length of the whole and a hash of all but itself.
const (
	messageMagic = 0x766e65746d697831 // "vnetmix1"
	messageHead  = 32                 // bytes: magic, number, length, hash
)

// appendMessage appends a message of n bytes in all, at least messageHead.
func appendMessage(b []byte, l letters, number uint64, n int) []byte {
	content, at := l.of(number, n-messageHead), len(b)
	b = binary.BigEndian.AppendUint64(b, messageMagic)
	b = binary.BigEndian.AppendUint64(b, number)
	b = binary.BigEndian.AppendUint64(b, uint64(n))
	b = binary.BigEndian.AppendUint64(b, hash(b[at:], content))
	return append(b, content...)
}

// checkMessage returns the number of a whole message, or what is wrong with it.
func checkMessage(b []byte) (number uint64, err error) {
	if len(b) < messageHead || binary.BigEndian.Uint64(b) != messageMagic {
		return 0, fmt.Errorf("%d bytes are no message: %x", len(b), b[:min(len(b), 64)])
	}
	number = binary.BigEndian.Uint64(b[8:])
	if n := binary.BigEndian.Uint64(b[16:]); n != uint64(len(b)) {
		return number, fmt.Errorf("message %d of %d bytes came as %d", number, n, len(b))
	}
	if want, got := binary.BigEndian.Uint64(b[24:]), hash(b[:24], b[messageHead:]); want != got {
		return number, fmt.Errorf("message %d of %d bytes has hash %x, not %x", number, len(b), got, want)
	}
	return number, nil
}
