package link

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
)

// A block is what seals frames on the tcp carrier: a head that looks like that of a TLS record with application data (RFC 8446
// §5.1), as whoever looks into connections expects to see, then ciphertext, then a tag. Its number, from 1 on, is counted at
// both ends. The plaintext is records, or a part of a frame: a record whose bytes are apart is the last of its block, and the
// following blocks carry nothing but its bytes, so that a super-frame is sealed from where it lies and opened to where it stays.
const (
	blockHead = 5                  // bytes: 0x17 0x03 0x03, length 2 of what follows
	blockText = 16 << 10           // bytes of plaintext at most, and in each block of a frame but its last
	blockMost = blockText + tagLen // bytes behind a head
	apartFrom = 4 << 10            // bytes of a frame from which on it goes apart: a block more costs less than copying it
	blockRoom = blockHead + tagLen // bytes that a block adds to its text
	apartHead = recordHead + ether.OffloadLen

	// blockEpoch is how many blocks of a key count as a datagram in Config.EpochDatagrams: 2^23 full blocks, a third of what
	// RFC 8446 §5.5 allows AES-GCM.
	blockEpoch = 4
)

var errBlock = errors.New("a block of the frames connection is malformed, or was sealed by somebody else")

// blockState is what both directions count: blocks under one key after the other.
type blockState struct {
	number uint64
	nonce  [nonceLen]byte
	head   [headerLen]byte // what is authenticated: the block's head, zeros, its number
}

// next makes nonce and head those of the next block, of which d is the start.
func (b *blockState) next(d []byte, key *epochKey) {
	b.number++
	copy(b.head[:blockHead], d)
	binary.BigEndian.PutUint64(b.head[8:], b.number)
	key.nonce(&b.nonce, 0, b.number)
}

// blockWriter appends sealed blocks to a buffer. It belongs to the stream's lock.
type blockWriter struct {
	state blockState
	text  int // bytes of text in the open block, the last thing in the buffer; 0: none is open
}

// record appends a record to the open block. It returns the buffer.
func (w *blockWriter) record(out []byte, r record, key *epochKey) []byte {
	if len(r.bytes) >= apartFrom {
		out = w.reserve(out, apartHead, key)
		n := putHead(out[len(out)-apartHead:], r, len(r.bytes))
		out[len(out)-apartHead] |= recApart
		w.text -= apartHead - n
		out = w.close(out[:len(out)-apartHead+n], key)
		for rest := r.bytes; len(rest) > 0; {
			part := rest[:min(len(rest), blockText)]
			rest = rest[len(part):]
			at := len(out)
			out = extend(out, blockRoom+len(part))
			w.seal(out[at:], part, key)
		}
		return out
	}
	n := recordHead + len(r.bytes)
	if r.offload != (ether.Offload{}) {
		n += ether.OffloadLen
	}
	out = w.reserve(out, n, key)
	putRecord(out[len(out)-n:], r)
	return out
}

// reserve makes room for n bytes more of text in the open block, or closes it and opens another.
func (w *blockWriter) reserve(out []byte, n int, key *epochKey) []byte {
	if w.text+n > blockText {
		out = w.close(out, key)
	}
	if w.text == 0 {
		out = extend(out, blockHead)
	}
	w.text += n
	return extend(out, n)
}

// close seals the open block, if there is one.
func (w *blockWriter) close(out []byte, key *epochKey) []byte {
	if w.text == 0 {
		return out
	}
	out = extend(out, tagLen)
	at := len(out) - blockRoom - w.text
	w.seal(out[at:], out[at+blockHead:len(out)-tagLen], key)
	w.text = 0
	return out
}

// seal makes d, which has the right length, the block of text, which lies in it where it belongs, or elsewhere.
func (w *blockWriter) seal(d, text []byte, key *epochKey) {
	d[0], d[1], d[2] = 0x17, 0x03, 0x03
	binary.BigEndian.PutUint16(d[3:], uint16(len(text)+tagLen))
	w.state.next(d, key)
	key.form.Seal(d[blockHead:], text, &w.state.nonce, &w.state.head)
}

// blockReader opens blocks in the buffer into which they were read. It belongs to the stream's reader.
type blockReader struct {
	state blockState
	buf   []byte
	at    int // buf[at:end] has arrived and was not opened
	end   int

	large time.Time // when a read was larger than streamQuiet

	apart record // whose bytes are being put together in buf[from:fill]
	size  int    // of them in the end; 0: nothing is being put together
	from  int
	fill  int
}

// room is where the next bytes may be read to: at least a block, once those that were opened are not needed any more.
func (r *blockReader) room() []byte {
	keep := r.at
	if r.size > 0 {
		keep = min(r.from, r.at)
	}
	if r.at == r.end && r.size == 0 || len(r.buf)-r.end < streamRoom {
		copy(r.buf, r.buf[keep:r.end])
		r.at, r.end, r.from, r.fill = r.at-keep, r.end-keep, r.from-keep, r.fill-keep
	}
	return r.buf[r.end:]
}

// fit chooses the memory for the next read, after one of n bytes: little for a connection through which little comes.
func (r *blockReader) fit(n int, now time.Time) {
	switch size := len(r.buf); {
	case size == streamQuiet && r.end == size:
		r.buf, r.large = append(make([]byte, 0, streamRead), r.buf...)[:streamRead], now
	case n > streamQuiet:
		r.large = now
	case size > streamQuiet && r.at == r.end && r.size == 0 && now.Sub(r.large) >= streamIdle:
		r.buf, r.at, r.end = make([]byte, streamQuiet), 0, 0
	}
}

// collect opens all blocks that have arrived and appends their frames to pkts. A bye ends it.
func (r *blockReader) collect(l *Link, now time.Time, pkts []ether.Packet) (_ []ether.Packet, parting *bye, err error) {
	for parting == nil && r.end-r.at >= blockHead {
		b := r.buf[r.at:r.end]
		n := int(binary.BigEndian.Uint16(b[3:]))
		if b[0] != 0x17 || b[1] != 0x03 || b[2] != 0x03 || n <= tagLen || n > blockMost {
			return pkts, nil, errBlock
		}
		if len(b) < blockHead+n {
			break
		}
		text, ok := r.open(b[:blockHead+n], &l.rx)
		if !ok {
			l.authFailed.Add(1)
			return pkts, nil, errBlock
		}
		r.at += blockHead + n
		l.heard.Store(int64(l.clock(now)))
		if r.size > 0 {
			pkts, err = r.grow(l, len(text), pkts)
		} else {
			pkts, parting, err = r.records(l, now, text, pkts)
		}
		if err != nil {
			return pkts, nil, err
		}
	}
	return pkts, parting, nil
}

// open decrypts a block: one of a frame to behind the one before it, others where they lie.
func (r *blockReader) open(d []byte, rx *inside) ([]byte, bool) {
	key := rx.keys.Load().cur
	r.state.next(d, key)
	d = d[blockHead:]
	if r.size > 0 && r.fill == r.from { // the first of a frame
		r.from, r.fill = r.at+blockHead, r.at+blockHead
	}
	if r.size == 0 || r.fill == r.from {
		return d[:len(d)-tagLen], key.form.Open(d, d, &r.state.nonce, &r.state.head)
	}
	dst := r.buf[r.fill:][:len(d)]
	if !key.slides {
		ok := key.form.Open(d, d, &r.state.nonce, &r.state.head)
		copy(dst, d)
		return dst[:len(d)-tagLen], ok
	}
	return dst[:len(d)-tagLen], key.form.Open(dst, d, &r.state.nonce, &r.state.head)
}

// grow takes n bytes more of the frame that is being put together. All blocks of a frame but the last are full, so that what
// lies between them is bounded.
func (r *blockReader) grow(l *Link, n int, pkts []ether.Packet) ([]ether.Packet, error) {
	if n != min(r.size-(r.fill-r.from), blockText) {
		return pkts, errBlock
	}
	if r.fill += n; r.fill-r.from < r.size {
		return pkts, nil
	}
	r.apart.bytes = r.buf[r.from:r.fill:r.fill]
	r.size = 0
	return l.arrive(r.apart, pkts), nil
}

// records takes what an opened block carries.
func (r *blockReader) records(l *Link, now time.Time, text []byte, pkts []ether.Packet) (_ []ether.Packet, parting *bye, err error) {
	for len(text) > 0 && parting == nil {
		if text[0]&recApart != 0 {
			r.apart, r.size, err = parseApart(text)
			r.from, r.fill = r.at, r.at
			return pkts, nil, err
		}
		rec, rest, err := parseRecord(text)
		if err != nil || rec.flags&recPiece != 0 || rec.flags == recPadding {
			return pkts, nil, errRecord
		}
		text = rest
		switch {
		case rec.flags&recHouse == 0:
			pkts = l.arrive(rec, pkts)
		case len(rec.bytes) > 0 && rec.bytes[0] == houseTurn:
			if len(text) > 0 {
				return pkts, nil, errRecord
			}
			if err := l.advance(l.rx.keys.Load().next); err != nil {
				return pkts, nil, err
			}
		default:
			parting = l.houseMessage(rec.bytes, now, nil)
		}
	}
	return pkts, parting, nil
}

// arrive takes a record with a frame.
func (l *Link) arrive(rec record, pkts []ether.Packet) []ether.Packet {
	l.datagramsIn.Add(1)
	if p, ok := l.take(rec); ok {
		p.Frame = slices.Clip(p.Frame)
		pkts = append(pkts, p)
	}
	return pkts
}
