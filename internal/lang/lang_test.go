package lang

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/virtuoso-vnet/virtuoso/internal/ether"
	"github.com/virtuoso-vnet/virtuoso/internal/overlay"
)

// places are no part of what a file means.
func places() cmp.Option {
	return cmp.Options{
		cmpopts.IgnoreUnexported(Node{}, VM{}, Link{}, Rule{}, Pin{}, Forbid{}, MaxLinks{}, Cost{}, Port{}, VMRef{}, Meaning{}),
		cmpopts.EquateEmpty(),
	}
}

func TestFormat(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"spaces, case and blank lines", "vnet   1\n\n\n\nnode home proxy\nnode a host bob at\tm.example 5000 tap v1=v1 lan l=eth0\nnode b host\nlink  b a carrier auto # why\r\nvm v 02:00:00:00:00:0A at a\n",
			"vnet 1\n\nnode home proxy\nnode a host bob AT m.example 5000 tap v1 lan l=eth0\nnode b host\nlink b a # why\nvm v 02:00:00:00:00:0a at a\n"},
		{"blocks and comments", "# top\n\n#of the version\nvnet 1 #now\nrule ( # all rules\n\n   #first\n a from any src any dst none to link:b\n\n\n a src not 02:00:00:00:00:01 dst any to port:x\n#end\n) # done\n# tail",
			"# top\n\n# of the version\nvnet 1 # now\nrule ( # all rules\n\t# first\n\ta src any dst none to link:b\n\n\ta src not 02:00:00:00:00:01 dst any to port:x\n\t# end\n) # done\n# tail\n"},
		{"the will", "vnet 1\nvm x 02:00:00:00:00:01\nvm y 02:00:00:00:00:02\npin link a b\npin path x y via c d\npin path x 02:00:00:00:00:03 star\nforbid pair x y\nforbid transit e\nforbid link a c\nmax-links 05\nmax-links a 2\ncost a b 2.50\nport a p macs x 02:00:00:00:00:09\nport b p storm off fixed\nport b q storm 70 spoof drop\nmode advise\n",
			""},
	}
	tests[2].in = strings.Replace(tests[2].in, "forbid pair x y\n", "forbid pair y 02:00:00:00:00:03\n", 1)
	tests[2].want = strings.Replace(strings.ReplaceAll(tests[2].in, "max-links 05", "max-links 5"), "2.50", "2.5", 1)
	for _, tt := range tests {
		f, err := Parse("t", []byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := string(Format(f))
		if got != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		again, err := Parse("t", []byte(got))
		if err != nil || string(Format(again)) != got {
			t.Errorf("%s: not a fixed point: %v\n%s", tt.name, err, got)
		}
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `t:1:1: the version line is missing: begin with "vnet 1"`},
		{"link a b\n", `t:1:1: "link" before the version line: begin with "vnet 1"`},
		{"vnet 2\nfoo bar\n", `t:1:6: this file is written in version 2 of the language, and this program knows version 1: use a newer vnet`},
		{"vnet one\n", `t:1:6: "one" is no version of the language: use 1`},
		{"vnet 1\nlimk a b\n", `t:2:1: "limk" is no word to begin a line with: use node, vm, link, rule, pin, forbid, max-links, cost, seal, port or mode (did you mean link?)`},
		{"vnet 1\nnodes (\n a b\n c d\n)\n", `t:2:1: "nodes" is no word to begin a line with: use node, vm, link, rule, pin, forbid, max-links, cost, seal, port or mode (did you mean node?)`},
		{"vnet 1\nlink a\nlink a a\nlink a b c\nlink a b carrier sctp\nlink A b\n", `t:2:7: the line ends too early: the second node is missing
t:3:8: a twice: name two nodes
t:4:10: "c" is no option of a link: use carrier, cipher or extra-ports
t:5:18: "sctp" is no carrier: use auto, udp or tcp (did you mean tcp?)
t:6:6: "A" is no name of a node: names have 1 to 63 characters of a-z, 0-9 and -, and begin with a letter or a digit`},
		{"vnet 1\nnode a host\nnode b prosy\nlink a c\n", `t:3:8: "prosy" is no role: use proxy or host (did you mean proxy?)`},
		{"vnet 1\nnode home proxy\nnode host1 host\nnode host2 host\nlink host1 hots2\nlink home host1\nrule host1 src any dst any to link:host2\n",
			`t:5:6: there is no node hots2 (did you mean host2?): declare it with "node hots2 host", or use one of home, host1 or host2
t:6:6: a link to the Proxy home: every host has one by itself, the star; links join two hosts
t:7:6: host1 has no link to host2: add "link host1 host2"`},
		{"vnet 1\nrule a src none dst any to port:x\nrule a src not 02:00:00:00:00:01 dst not 02:00:00:00:00:02 to port:x\nrule a from port:x src any dst any to port:x\nrule a src vm1 dst any to any\n",
			`t:2:6: none is allowed only as destination (a default rule): use any as source
t:3:34: not on both sides has no meaning in a forwarding table: use any on one side
t:4:6: no frame leaves by the side it came in by: name another side
t:5:6: a rule sends to port:NAME or link:NODE, not to any`},
		{"vnet 1\nvm vm1 02:00:00:00:00:01\nrule a src wm1 dst any to port:x\n", `t:3:12: there is no VM wm1 (did you mean vm1?): declare it with "vm wm1 MAC", or write its MAC address`},
		{"vnet 1\nlink (\n a b\n rule (\n", `t:4:7: a parenthesis inside the block "link": blocks do not nest; close it with a line ")" first`},
		{"vnet 1\nlink (\n a b\n", `t:2:1: the block "link" is not closed: end it with a line ")"`},
		{"vnet 1\n)\n", `t:2:1: ")" closes nothing: a block begins with a line "WORD ("`},
		{"vnet 1\nlink a\x00b c\n", `t:2:7: character U+0000: words are parted by spaces and tabs, other control characters and spaces are not allowed`},
		{"vnet 1\nlink \xff b\n", `t:2:6: byte 0xff is not UTF-8: write the file in UTF-8`},
		{"vnet 1\nnode a host tap x\nrule a src any dst any to port:y\n", `t:3:6: node a has no port y: it lists x; add "tap y" or "lan y" to it`},
		{"vnet 1\npin link a b\nforbid link b a\nmode auto\nmode auto\ncost a b 0\nmax-links many\n", `t:6:10: "0" is no cost: write a number from 0.000001 to 1000000; 1 is what every link costs by itself
t:7:11: "many" is no limit: write a whole number up to 1048576`},
		{"vnet 1\nport a p\nport a q storm 0\nport a r macs\nport a s fixed macs v fixed\n", `t:2:9: the line ends too early: limit of a port (storm, spoof, fixed or macs) is missing
t:3:16: 0 is no rate: write how many flooded frames a second the port may send, or off
t:4:14: the line ends too early: a VM or MAC address behind macs is missing`},
		{"vnet 1\nport a p fixed\nport a p fixed\nport a q macs ff:ff:ff:ff:ff:ff w\n", `t:3:6: port p of a is said on line 2 already: say it once
t:4:6: cannot limit port q to ff:ff:ff:ff:ff:ff: it is nobody's own address
t:4:33: there is no VM w: declare it with "vm w MAC", or write its MAC address`},
		{"vnet 1\npin link a b\nforbid link b a\nmode auto\nmode auto\nforbid transit c\npin path 02:00:00:00:00:01 02:00:00:00:00:02 via c\n", `t:2:5: the link a b is pinned and forbidden: strike one of the two out
t:5:6: mode is said on line 4 already: say it once
t:7:50: the path crosses c, which is forbidden as transit: strike one of the two out`},
	}
	tests[len(tests)-1].want = strings.Replace(tests[len(tests)-1].want, "mode is", "the mode is", 1)
	for _, tt := range tests {
		_, err := Parse("t", []byte(tt.in))
		if err == nil {
			t.Errorf("%q: no error, want %s", tt.in, tt.want)
		} else if err.Error() != tt.want {
			t.Errorf("%q: got\n%s\nwant\n%s", tt.in, err, tt.want)
		}
	}
}

func TestCheckNamesTheCycle(t *testing.T) {
	text := "vnet 1\nnode p proxy\nnode (\n\ta host\n\tb host\n\tc host\n)\nlink (\n\ta b\n\tb c\n\tc a\n)\nrule a src any dst 02:00:00:00:00:09 to link:b\nrule b src any dst 02:00:00:00:00:09 to link:c\nrule c src any dst 02:00:00:00:00:09 to link:a\n"
	if _, err := Parse("t", []byte(text)); err != nil {
		t.Fatal(err)
	}
	_, err := Check("t", []byte(text))
	if err == nil || !strings.HasPrefix(err.Error(), "t:13:6: frames ") || !strings.Contains(err.Error(), "would circle: ") || !strings.Contains(err.Error(), "and again a") {
		t.Errorf("got %v", err)
	}
}

// Every example in the reference is a file that is right and already in canonical form.
func TestTheReference(t *testing.T) {
	text, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```vnet\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 5 {
		t.Fatalf("found %d examples", len(examples))
	}
	for i, e := range examples {
		body := e[1]
		if !bytes.HasPrefix(body, []byte("vnet ")) && !bytes.Contains(body, []byte("\nvnet 1")) {
			body = append([]byte("vnet 1\n"), body...)
		}
		f, err := Check(fmt.Sprintf("example %d", i+1), body)
		if err != nil {
			t.Errorf("%v\n%s", err, body)
		} else if got := Format(f); string(got) != string(body) {
			t.Errorf("example %d is not canonical: %s", i+1, cmp.Diff(string(body), string(got)))
		}
	}
	for _, key := range keywords() {
		if !strings.Contains(string(text), "### `"+key+"`") {
			t.Errorf("no section about %s", key)
		}
	}
	for name := range readers() {
		if !slices.Contains(keywords(), name) {
			t.Errorf("%s is read and not listed", name)
		}
	}
}

// drawMeaning makes a meaning that is right.
func drawMeaning(t *rapid.T) *Meaning {
	nodes := []overlay.Name{"p", "a", "b", "c", "d-1"}
	macs := func(i int) ether.MAC { return ether.MAC{2, 0, 0, 0, 0, byte(i)} }
	m := &Meaning{Nodes: []Node{{Name: "p", Proxy: true}}}
	for _, n := range nodes[1:] {
		one := Node{Name: n, TAPs: []Interface{{"x", "x"}, {"y", "tap0"}}}
		if rapid.Bool().Draw(t, "machine") {
			one.Machine = rapid.SampledFrom([]string{"m.example", "192.0.2.1", "2001:db8::1", "alias_1"}).Draw(t, "where")
			one.User = rapid.SampledFrom([]string{"", "bob", "_x"}).Draw(t, "user")
			one.Port = rapid.SampledFrom([]uint16{0, 5000}).Draw(t, "port")
		}
		m.Nodes = append(m.Nodes, one)
	}
	ref := func(i int) VMRef { return VMRef{MAC: macs(i)} }
	for i := range rapid.IntRange(0, 4).Draw(t, "vms") {
		v := VM{Name: fmt.Sprintf("vm%d", i), MAC: macs(i)}
		if rapid.Bool().Draw(t, "placed") {
			v.Node, v.Port = rapid.SampledFrom(nodes[1:]).Draw(t, "at"), rapid.SampledFrom([]string{"", "x"}).Draw(t, "behind")
		}
		m.VMs = append(m.VMs, v)
	}
	vm := func(label string) VMRef {
		i := rapid.IntRange(0, 5).Draw(t, label)
		if i < len(m.VMs) {
			return VMRef{Name: m.VMs[i].Name}
		}
		return ref(i)
	}
	pairs := map[[2]overlay.Name]bool{}
	for i, a := range nodes[1:] {
		if rapid.IntRange(0, 5).Draw(t, "limited") == 0 {
			p := Port{Node: a, Port: "x", Storm: rapid.IntRange(-1, 9).Draw(t, "storm"), Fixed: rapid.Bool().Draw(t, "fixed"), DropSpoof: rapid.Bool().Draw(t, "spoof")}
			if rapid.Bool().Draw(t, "only") {
				p.MACs = []VMRef{vm("let in")}
			}
			if m.limitOf(p).IsZero() {
				p.Storm = 1
			}
			m.Ports = append(m.Ports, p)
		}
		for _, b := range nodes[i+2:] {
			if rapid.Bool().Draw(t, "linked") {
				m.Links = append(m.Links, Link{A: b, B: a, Carrier: rapid.SampledFrom([]string{"", "udp", "tcp"}).Draw(t, "carrier"),
					Cipher:     rapid.SampledFrom([]string{"", "trusted", "aes-256-gcm"}).Draw(t, "cipher"),
					ExtraPorts: rapid.IntRange(0, maxExtraPorts).Draw(t, "extra ports")})
				pairs[[2]overlay.Name{a, b}] = true
			}
			if rapid.IntRange(0, 5).Draw(t, "cost") == 0 {
				m.Costs = append(m.Costs, Cost{A: a, B: b, Factor: rapid.Float64Range(1e-6, 1e6).Draw(t, "factor")})
			}
		}
	}
	side := func(at overlay.Name, any bool) overlay.Side {
		sides := []overlay.Side{overlay.AtPort("x"), overlay.AtPort("y"), overlay.AtLink("p")}
		if any {
			sides = append(sides, overlay.Side{})
		}
		for p := range pairs {
			if p[0] == at {
				sides = append(sides, overlay.AtLink(p[1]))
			}
		}
		slices.SortFunc(sides, func(a, b overlay.Side) int { return strings.Compare(a.String(), b.String()) })
		return rapid.SampledFrom(sides).Draw(t, "side")
	}
	address := func(none bool) Address {
		switch n := rapid.IntRange(0, 5).Draw(t, "kind"); {
		case n == 0:
			return Address{Kind: overlay.Any}
		case n == 1 && none:
			return Address{Kind: overlay.None}
		case n == 2 && none:
			return Address{Kind: overlay.Not, VM: vm("not")}
		}
		return Address{Kind: overlay.Exact, VM: vm("exact")}
	}
	seen := map[string]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "rules") {
		u := Rule{Node: rapid.SampledFrom(nodes[1:]).Draw(t, "holder")}
		u.From, u.To, u.Src, u.Dst = side(u.Node, true), side(u.Node, false), address(false), address(true)
		if r := fmt.Sprint(u.Node, m.RuleOf(u)); u.From != u.To && !seen[r] {
			seen[r] = true
			m.Rules = append(m.Rules, u)
		}
	}
	if rapid.Bool().Draw(t, "will") {
		m.Pins = []Pin{{A: "b", B: "a"}, {Path: true, X: ref(1), Y: ref(2), Via: []overlay.Name{"c", "p"}}, {Path: true, X: ref(1), Y: ref(3), Star: true}, {Path: true, X: ref(4), Y: ref(3)}}
		m.Forbids = []Forbid{{A: "c", B: "d-1"}, {Kind: overlay.ForbidPair, X: ref(5), Y: ref(2)}, {Kind: overlay.ForbidTransit, A: "d-1"}}
		m.Limits = []MaxLinks{{Max: 3}, {Node: "a", Max: 0}}
		m.Mode = rapid.SampledFrom([]string{"", "auto", "advise", "observe"}).Draw(t, "mode")
	}
	return m
}

func TestParseOfFormatIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMeaning(t)
		text := Format(Describe(m))
		f, err := Parse("t", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		got := f.Meaning()
		if diff := cmp.Diff(m, got, places()); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
		if !reflect.DeepEqual(m.Overlay(), got.Overlay()) || !reflect.DeepEqual(m.Will(), got.Will()) {
			t.Fatalf("another overlay:\n%s", text)
		}
		back := FromOverlay(got.Overlay(), func(overlay.Origin) bool { return true })
		back.Nodes = got.Nodes
		back.PutWill(got.Will(), back.NamesOf())
		again, err := Parse("t", Format(Describe(back)))
		if err != nil {
			t.Fatal(err)
		}
		if steps := overlay.Diff(again.Meaning().Overlay(), got.Overlay()); len(steps) > 0 || !reflect.DeepEqual(again.Meaning().Will(), got.Will()) {
			t.Fatalf("through the overlay and back: %v\n%s", steps, text)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"vnet 1\n", "# c\n\nvnet 1 # d\n\nnode (\n\ta proxy\n\tb host x AT y 1 tap z\n)\n", "vnet 1\nlink a b carrier tcp cipher trusted extra-ports 2\nrule a from link:b src any dst none to port:p\n",
		"vnet 1\nvm v 02:00:00:00:00:01 at a port p\npin path v 02:00:00:00:00:02 via b c\nforbid pair v 02:00:00:00:00:02\ncost a b 1e3\nmax-links a 3\nmode auto\n",
		"vnet 1\nport a p storm off spoof drop fixed macs 02:00:00:00:00:01\nport a q spoof notice\n",
		"vnet 1\nrule (\n\n# x\n\n# y\n)\n", "vnet 1\nrule(\n#\n\n#\n\n)", "vnet 9\n", "vnet 1\nrule a src not v dst not w to any\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		one, err := Parse("t", text)
		if err != nil {
			if len(err.Error()) == 0 || strings.Contains(err.Error(), "\x00") {
				t.Fatalf("an error that says nothing printable: %q", err)
			}
			return
		}
		formatted := Format(one)
		two, err := Parse("t", formatted)
		if err != nil {
			t.Fatalf("cannot read what was formatted: %v\n%s", err, formatted)
		}
		if again := Format(two); !bytes.Equal(formatted, again) {
			t.Fatalf("no fixed point:\n%q\n%q", formatted, again)
		}
		if diff := cmp.Diff(one.Meaning(), two.Meaning(), places()); diff != "" {
			t.Fatal(diff)
		}
		if !reflect.DeepEqual(one.Meaning().Will(), two.Meaning().Will()) {
			t.Fatalf("another will: %s", formatted)
		}
	})
}

// hostile are 200 files that nobody means well with.
func hostile() map[string][]byte {
	all := map[string][]byte{}
	dice := rand.New(rand.NewPCG(1, 2))
	repeat := func(name, head, body string, n int) {
		all[fmt.Sprintf("%s × %d", name, n)] = []byte(head + strings.Repeat(body, n))
	}
	for _, n := range []int{1 << 10, 1 << 16, 1 << 20, 4 << 20, 50 << 20} {
		repeat("parentheses", "vnet 1\n", "(", n)
		repeat("closing", "vnet 1\n", ")\n", n/2)
		repeat("blocks", "vnet 1\n", "link (\n", n/7)
		repeat("a word", "vnet 1\nlink a", "b", n)
		repeat("NUL", "vnet 1\n", "\x00", n)
		repeat("not UTF-8", "vnet 1\n", "\xff\xfe", n/2)
		repeat("bad comments", "vnet 1\n", "# \x01\n", n/4)
		repeat("bad lines", "vnet 1\n", "x\n", n/2)
		repeat("words on a line", "vnet 1\nlink ", "a ", n/2)
		repeat("versions", "", "vnet 1\n", n/7)
		repeat("same rule", "vnet 1\n", "rule a src any dst any to port:x\n", max(n/33, 2))
		repeat("unknown VMs", "vnet 1\n", "pin path x y direct\n", max(n/20, 2))
	}
	base := "vnet 1\nnode p proxy\nnode a host bob AT m 1 tap x\nvm v 02:00:00:00:00:01 at a port x\nrule a from port:x src v dst any to link:p\n"
	for i := len(all); i < 200; i++ {
		text := []byte(base)
		for range 1 + dice.IntN(5) {
			at := 7 + dice.IntN(len(text)-7)
			text = slices.Insert(text, at, []byte{"\x00\xff()\x7f\x80\r"[dice.IntN(7)], '('}[dice.IntN(2)])
		}
		text = append(text, "\x00"...)
		all[fmt.Sprintf("damaged %d", i)] = text
	}
	return all
}

func TestHostileFilesEndInAnErrorWithinBounds(t *testing.T) {
	files := hostile()
	var crossed strings.Builder // every rule is right, and 200,000,000 kinds of frames are told apart
	crossed.WriteString("vnet 1\nrule (\n")
	for i := range 14000 {
		fmt.Fprintf(&crossed, "a src 02:00:00:00:%02x:%02x dst any to port:x\na src any dst 02:01:00:00:%02x:%02x to port:y\n", i>>8, i&255, i>>8, i&255)
	}
	files["crossed rules"] = []byte(crossed.String() + ")\n")
	if len(files) < 200 {
		t.Fatalf("only %d", len(files))
	}
	var before, after runtime.MemStats
	for name, text := range files {
		runtime.ReadMemStats(&before)
		_, err := Check("t", text)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if n := len(err.Error()); n > 64<<10 {
			t.Errorf("%s: an error of %d bytes", name, n)
		}
		// All that was ever allocated, not only what was held at once.
		if used := after.TotalAlloc - before.TotalAlloc; used > 512<<20 {
			t.Errorf("%s: %d MiB allocated for %d KiB of text", name, used>>20, len(text)>>10)
		}
	}
}
