package overlay

import (
	"strings"
	"testing"
)

func TestRank(t *testing.T) {
	const x = "02:00:00:00:00:01"
	order := []string{ // strongest first; what shares a line is equally strong
		"src X dst X",
		"src X dst not X | src not X dst X",
		"src X dst any | src any dst X",
		"src any dst not X | src not X dst any",
		"src any dst any",
		"src X dst none",
		"src not X dst none",
		"src any dst none",
	}
	last := 100
	for _, line := range order {
		ranks := map[int]bool{}
		for _, text := range strings.Split(line, " | ") {
			r, err := ParseRule(strings.ReplaceAll(text, "X", x) + " to link:b")
			if err != nil {
				t.Fatal(err)
			}
			ranks[r.Rank()] = true
			if r.Rank() >= last {
				t.Errorf("%s: rank %d, want below %d", text, r.Rank(), last)
			}
		}
		if len(ranks) != 1 {
			t.Errorf("%s: ranks %v, want one", line, ranks)
		}
		for n := range ranks {
			last = n
		}
	}
}

func TestParseRule(t *testing.T) {
	for _, tt := range []struct{ text, want, fails string }{
		{text: "from any src any dst 02:00:00:00:00:01 to port:vm1"},
		{text: "from link:host2 src not 02:00:00:00:00:01 dst 02:00:00:00:00:01 to port:vm1"},
		{text: "from port:vm1 src any dst none to link:proxy"},
		{text: "src any dst any to link:b", want: "from any src any dst any to link:b"},
		{text: "  from any src 02:00:00:00:00:AA\tdst any to link:b", want: "from any src 02:00:00:00:00:aa dst any to link:b"},
		{text: "", fails: `missing "from"`},
		{text: "from any src any dst any", fails: `missing "to"`},
		{text: "from any src any dst any to link:b now", fails: `found "now"`},
		{text: "from nowhere src any dst any to link:b", fails: "any, port:NAME or link:NODE"},
		{text: "from any src 02:zz dst any to link:b", fails: "the same behind \"not\", any, or (as destination only) none"},
		{text: "from any src none dst any to link:b", fails: "only as destination"},
		{text: "src not 02:00:00:00:00:01 dst not 02:00:00:00:00:02 to link:b", fails: `use "any" on one side`},
		{text: "src 00:00:00:00:00:00 dst any to link:b", fails: "nobody's address"},
		{text: "src any dst 01:80:c2:00:00:0e to link:b", fails: "never forwarded"},
		{text: "src any dst any to any", fails: "sends to port:NAME or link:NODE"},
		{text: "src any dst any to link:B", fails: "a-z, 0-9 and -"},
		{text: "from link:b src any dst any to link:b", fails: "name another side"},
	} {
		r, err := ParseRule(tt.text)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%q: error %v, want one with %q", tt.text, err, tt.fails)
			}
			continue
		}
		want := tt.want
		if want == "" {
			want = tt.text
		}
		if err != nil || r.String() != want {
			t.Errorf("%q: %q, %v, want %q", tt.text, r, err, want)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("from link:host2 src not 02:00:00:00:00:01 dst 02:00:00:00:00:01 to port:vm1")
	f.Add("src any dst none to link:proxy")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q -> %q -> %q, %v", text, r, again, err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		ok   bool
	}{
		{"a", true}, {"host-2", true}, {"0", true}, {strings.Repeat("a", 63), true},
		{"", false}, {"-a", false}, {"A", false}, {"a.b", false}, {strings.Repeat("a", 64), false},
	} {
		if err := ValidName(tt.name); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.name, err)
		}
	}
	for o := OriginUser; o <= OriginStar; o++ {
		if got, err := ParseOrigin(o.String()); got != o || err != nil {
			t.Errorf("%v: %v, %v", o, got, err)
		}
	}
	if _, err := ParseOrigin("nobody"); err == nil {
		t.Error("an unknown origin was read")
	}
}
