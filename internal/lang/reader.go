package lang

import (
	"slices"
	"strconv"
	"strings"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// keywords are the words that begin a line, but for the version line's.
func keywords() []string {
	return []string{"node", "vm", "link", "rule", "pin", "forbid", "max-links", "cost", "seal", "port", "mode"}
}

// readers are what reads the rest of a line, by its first word.
func readers() map[string]func(*reader) Statement {
	return map[string]func(*reader) Statement{
		"node": readNode, "vm": readVM, "link": readLink, "rule": readRule, "pin": readPin, "forbid": readForbid,
		"max-links": readMaxLinks, "cost": readCost, "seal": readSeal, "port": readPort, "mode": readMode,
	}
}

func listed(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// reader takes the words of one line, one after the other. After the first error it reads on in silence.
type reader struct {
	words  []word
	end    Pos // behind the last word
	failed bool
	bad    *complaints
}

func (r *reader) fail(at Pos, format string, args ...any) {
	if !r.failed {
		r.failed = true
		r.bad.add(at, format, args...)
	}
}

// peek is the next word, if there is one.
func (r *reader) peek() (string, bool) {
	if len(r.words) == 0 {
		return "", false
	}
	return r.words[0].text, true
}

// at is where the next word stands, or would.
func (r *reader) at() Pos {
	if len(r.words) > 0 {
		return r.words[0].at
	}
	return r.end
}

// take is the next word; what says what it should be.
func (r *reader) take(what string) (word, bool) {
	if r.failed {
		return word{}, false
	}
	if len(r.words) == 0 {
		r.fail(r.end, "the line ends too early: %s is missing", what)
		return word{}, false
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w, true
}

// done complains about words that are left.
func (r *reader) done(key string) {
	if len(r.words) > 0 {
		r.fail(r.words[0].at, "%q is too much: the line is complete; %s", clip(r.words[0].text), form(key))
	}
}

// form is how a line of each kind looks.
func form(key string) string {
	switch key {
	case "node":
		return "a node is \"NAME proxy|host [[USER] AT MACHINE [PORT]] [tap PORT[=INTERFACE]] [lan PORT[=INTERFACE]] …\""
	case "vm":
		return "a VM is \"NAME MAC [at NODE [port PORT]]\""
	case "link":
		return "a link is \"NODE NODE [carrier auto|udp|tcp] [cipher auto|aes-128-gcm|aes-256-gcm|chacha20-poly1305|trusted] [extra-ports NUMBER]\""
	case "rule":
		return "a rule is \"NODE [from SIDE] src ADDRESS dst ADDRESS to SIDE\""
	case "pin":
		return "a pin is \"link NODE NODE\", \"path VM VM direct\", \"path VM VM star\" or \"path VM VM via NODE …\""
	case "forbid":
		return "what is forbidden is \"link NODE NODE\", \"pair VM VM\" or \"transit NODE\""
	case "max-links":
		return "a limit is \"NUMBER\" for all, or \"NODE NUMBER\" for one node"
	case "cost":
		return "a cost is \"NODE NODE NUMBER\""
	case "seal":
		return "what is sealed is \"NODE NODE\", or \"all\""
	case "port":
		return "a port is \"NODE PORT [storm RATE|off] [spoof notice|drop] [fixed] [macs VM …]\""
	}
	return "a mode is observe, advise or auto"
}

// oneOf takes a word out of a few.
func (r *reader) oneOf(what string, words ...string) string {
	w, ok := r.take(what + " (" + listed(words) + ")")
	if ok && !slices.Contains(words, w.text) {
		r.fail(w.at, "%q is no %s: use %s%s", clip(w.text), what, listed(words), suggest(w.text, words))
	}
	return w.text
}

// literal takes one word and no other.
func (r *reader) literal(text string) {
	if w, ok := r.take(strconv.Quote(text)); ok && w.text != text {
		r.fail(w.at, "%q where %q is expected", clip(w.text), text)
	}
}

// node takes the name of a node.
func (r *reader) node(what string) Ref[overlay.Name] {
	w, ok := r.take(what)
	if !ok {
		return Ref[overlay.Name]{}
	}
	if err := overlay.ValidName(w.text); err != nil {
		r.fail(w.at, "%q is no name of a node: names have 1 to 63 characters of a-z, 0-9 and -, and begin with a letter or a digit", clip(w.text))
	}
	return Ref[overlay.Name]{overlay.Name(w.text), w.at}
}

// vm takes a VM's name or MAC address.
func (r *reader) vm(what string) VMRef {
	w, ok := r.take(what)
	if !ok {
		return VMRef{}
	}
	return r.vmOf(w)
}

func (r *reader) vmOf(w word) VMRef {
	if mac, err := ether.ParseMAC(w.text); err == nil {
		return VMRef{MAC: mac, at: w.at}
	}
	if why := badVMName(w.text); why != "" {
		r.fail(w.at, "%q is neither a MAC address like 02:00:00:00:00:01 nor the name of a VM: %s", clip(w.text), why)
	}
	return VMRef{Name: w.text, at: w.at}
}

// badVMName says what is wrong with a VM's name; empty if nothing.
func badVMName(s string) string {
	if slices.Contains([]string{"any", "none", "not"}, s) {
		return "any, none and not have a meaning of their own"
	}
	if overlay.ValidPort(s) != nil {
		return "names have 1 to 63 letters, digits and - _ . @"
	}
	return ""
}

func (r *reader) mac() ether.MAC {
	w, ok := r.take("a MAC address")
	if !ok {
		return ether.MAC{}
	}
	mac, err := ether.ParseMAC(w.text)
	switch {
	case err != nil:
		r.fail(w.at, "%q is no MAC address: write one like 02:00:00:00:00:01", clip(w.text))
	case mac.IsGroup() || mac.IsZero():
		r.fail(w.at, "%s is nobody's own address: a VM has a unicast address", mac)
	}
	return mac
}

// port takes the name of a port.
func (r *reader) port(what string) string {
	w, ok := r.take(what)
	if ok {
		if err := overlay.ValidPort(w.text); err != nil {
			r.fail(w.at, "%q is no name of a port: names have 1 to 63 letters, digits and - _ . @", clip(w.text))
		}
	}
	return w.text
}

// side takes where a frame enters or leaves.
func (r *reader) side(what string) overlay.Side {
	w, ok := r.take(what)
	if !ok {
		return overlay.Side{}
	}
	side, err := overlay.ParseSide(w.text)
	if err != nil {
		r.fail(w.at, "%q is no side: use any, port:NAME or link:NODE%s", clip(w.text), suggest(w.text, []string{"any"}))
	}
	return side
}

// number takes a whole number of at most high.
func (r *reader) number(what string, high uint64) uint64 {
	w, ok := r.take(what)
	if !ok {
		return 0
	}
	n, err := strconv.ParseUint(w.text, 10, 64)
	if err != nil || n > high {
		r.fail(w.at, "%q is no %s: write a whole number up to %d", clip(w.text), what, high)
		return 0
	}
	return n
}

// Ref is a name at its place in the file.
type Ref[T any] struct {
	To T
	at Pos
}

// VMRef names a VM by its name, or by its MAC where Name is empty.
type VMRef struct {
	Name string
	MAC  ether.MAC
	at   Pos
}

// String is the word for it.
func (v VMRef) String() string {
	if v.Name != "" {
		return v.Name
	}
	return v.MAC.String()
}
