package node

import (
	"fmt"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	controlv1 "github.com/virtuoso-vnet/virtuoso/api/control/v1"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

const (
	// maxCandidates is how many addresses a node may have peers try: else a liar could have the overlay knock at the doors
	// of strangers.
	maxCandidates = 32
	maxNodePorts  = 1024
	// announceAtOnce is how many MACs one announcement lists.
	announceAtOnce = 4096

	// Of what is shown to people, in bytes.
	maxVersionText = 64
	maxErrorText   = 1024
	maxAnswerText  = 64 << 10
	maxEventKind   = 64
	maxEventText   = 1024
	maxEventFields = 16
	maxFieldText   = 1024

	maxTrustList = 1 << 20 // bytes: ten thousand revoked keys

	// bigMessage in bytes: of those above, one at a time is decoded, whoever sent it.
	bigMessage = 64 << 10
	maxDepth   = 8 // of messages within messages; ours have four
)

// entriesOf is how many list elements a control message may have in all, by its field of Envelope. An element of two bytes
// becomes one of a hundred in memory, so they are counted before anything is decoded.
func entriesOf(kind protowire.Number) int {
	switch kind {
	case 4: // Directory: every MAC, with some addresses
		return 1 << 19
	case 1, 3, 5, 12: // Hello, Announce, StageRequest, Tune: thousands of rules or MACs
		return 1 << 17
	case 6, 9: // StageReply, TrafficReport
		return 1 << 13
	}
	return 4 * maxEventFields
}

// count refuses an encoded Envelope that has more list elements than its kind may have.
func count(data []byte) error {
	fields := (&controlv1.Envelope{}).ProtoReflect().Descriptor().Fields()
	for b := data; len(b) > 0; {
		kind, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(kind, typ, b[n:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		left := entriesOf(kind)
		if f := fields.ByNumber(kind); f != nil && f.Message() != nil && typ == protowire.BytesType {
			body, _ := protowire.ConsumeBytes(b[n:])
			if err := elements(body, f.Message(), &left, 0); err != nil {
				return err
			}
		}
		b = b[n+size:]
	}
	return nil
}

// elements subtracts the elements of all lists in b, a message of kind d, from left.
func elements(b []byte, d protoreflect.MessageDescriptor, left *int, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("messages within messages, more than %d deep", maxDepth)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return protowire.ParseError(size)
		}
		value := b[n : n+size]
		b = b[n+size:]
		f := d.Fields().ByNumber(num)
		if f == nil {
			continue
		}
		var content []byte
		if typ == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(value)
		}
		*left -= weigh(f, typ, content)
		if *left < 0 {
			return fmt.Errorf("too many elements of %s", f.Name())
		}
		if f.Message() != nil && typ == protowire.BytesType {
			if err := elements(content, f.Message(), left, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// weigh is how many elements of a list one occurrence of a field makes.
func weigh(f protoreflect.FieldDescriptor, typ protowire.Type, content []byte) int {
	switch {
	case f.Message() != nil: // also one that should stand once: each occurrence costs an allocation
		return 1
	case f.Cardinality() != protoreflect.Repeated:
		return 0
	case typ == protowire.BytesType && f.Kind() == protoreflect.Uint64Kind: // packed
		n := 0
		for _, c := range content {
			if c < 0x80 {
				n++
			}
		}
		return n
	}
	return 1
}

// printable is text of a peer as people may be shown it: of at most most bytes, and without what steers a terminal.
func printable(text string, most int) string {
	clean := func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) && r != '\n' {
			return ' '
		}
		return r
	}
	out := make([]byte, 0, min(len(text), most))
	for _, r := range text {
		if r = clean(r); len(out)+utf8.RuneLen(r) > most {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

// eventIn is what happened at a host, in its own words.
func eventIn(m *controlv1.Event) Event {
	ev := Event{Kind: printable(m.GetKind(), maxEventKind), Text: printable(m.GetText(), maxEventText)}
	ev.Time = time.UnixMicro(m.GetTimeUs())
	for k, v := range m.GetFields() {
		if ev.Fields == nil {
			ev.Fields = map[string]string{}
		}
		if len(ev.Fields) == maxEventFields {
			break
		}
		ev.Fields[printable(k, maxFieldText)] = printable(v, maxFieldText)
	}
	return ev
}

// portsIn are a host's ports.
func portsIn(list []*controlv1.Port) ([]*controlv1.Port, error) {
	if len(list) > maxNodePorts {
		return nil, fmt.Errorf("cannot use %d ports of one node: at most %d are allowed", len(list), maxNodePorts)
	}
	for _, p := range list {
		if err := overlay.ValidPort(p.GetName()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// decoder decodes messages of all links, of the big ones one at a time: what a message takes up while it is decoded is a
// multiple of its length.
type decoder struct{ big sync.Mutex }

func (d *decoder) decode(data []byte) (any, error) {
	if len(data) > bigMessage {
		d.big.Lock()
		defer d.big.Unlock()
	}
	return Decode(data)
}
