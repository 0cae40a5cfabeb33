package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rounds is a result of one figure: values by system, one a round.
func rounds(figure string, of map[string][]float64) Result {
	var r Result
	for name, values := range of {
		r.Systems = append(r.Systems, System{Name: name})
		for i, v := range values {
			r.Samples = append(r.Samples, Sample{System: name, Figure: figure, Round: i, Value: v})
		}
	}
	return r
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
		ok     bool
	}{
		{nil, Spread{}, false},
		{[]float64{7}, Spread{7, 7, 7}, true},
		{[]float64{3, 1, 2}, Spread{1, 2, 3}, true},
		{[]float64{4, 1, 2, 3}, Spread{1, 2.5, 4}, true},
	} {
		if got, ok := SpreadOf(c.values); got != c.want || ok != c.ok {
			t.Errorf("the spread of %v is %v, %v; want %v, %v", c.values, got, ok, c.want, c.ok)
		}
	}
}

// A machine that is twice as fast in one round changes no ratio.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	r := rounds("tcp1", map[string][]float64{"veth": {10, 20, 40}, "ours": {5, 10, 20}})
	if got, ok := r.Ratio("ours", "tcp1", "veth", "tcp1"); !ok || got != (Spread{0.5, 0.5, 0.5}) {
		t.Errorf("the ratio is %v, %v; want 0.5 in every round", got, ok)
	}
	r = rounds("tcp1", map[string][]float64{"veth": {10, 0}, "ours": {5, 10, 20}})
	if got, ok := r.Ratio("ours", "tcp1", "veth", "tcp1"); !ok || got != (Spread{0.5, 0.5, 0.5}) {
		t.Errorf("the ratio is %v, %v; rounds without a yardstick do not count", got, ok)
	}
	if _, ok := r.Ratio("ours", "tcp1", "nobody", "tcp1"); ok {
		t.Error("there is a ratio to what was not measured")
	}
}

func TestBestIsOfTheRightDirection(t *testing.T) {
	r := rounds("x", map[string][]float64{"slow": {1, 1, 9}, "fast": {5, 5, 5}})
	if best, ok := r.Best("x", false, []string{"slow", "fast", "absent"}); best != "fast" || !ok {
		t.Errorf("the most is %q, %v", best, ok)
	}
	if best, ok := r.Best("x", true, []string{"slow", "fast"}); best != "slow" || !ok {
		t.Errorf("the least is %q, %v", best, ok)
	}
	if best, ok := r.Best("x", true, nil); ok {
		t.Errorf("of nobody %q is best", best)
	}
}

func TestMergeNumbersRoundsOn(t *testing.T) {
	one := rounds("tcp1", map[string][]float64{"ours": {1, 2}})
	two := rounds("tcp1", map[string][]float64{"ours": {3}})
	two.Systems = append(two.Systems, System{Name: "tinc", NotRun: "it is not installed"})
	three := rounds("udp64", map[string][]float64{"ours": {9}})
	all := Merge([]Result{one, two, three})
	if got := all.Values("ours", "tcp1"); len(got) != 3 || got[2] != 3 || all.Rounds != 3 {
		t.Errorf("rounds are %v of %d, want three", got, all.Rounds)
	}
	if got := all.Values("ours", "udp64"); len(got) != 1 || got[0] != 9 {
		t.Errorf("another figure's rounds begin at 0 too, got %v", got)
	}
	if len(all.Systems) != 2 {
		t.Errorf("systems are %v, want ours once and tinc", all.Systems)
	}
}

func TestTables(t *testing.T) {
	r := rounds("tcp1", map[string][]float64{"veth": {20e9, 40e9}})
	r.Systems = append(r.Systems, System{Name: "ours", What: "vnet"}, System{Name: "tinc", NotRun: "tincd is not installed"})
	r.Samples = append(r.Samples, Sample{System: "ours", Figure: "tcp1", Value: 10e9}, Sample{System: "ours", Figure: "tcp1", Round: 1, Value: 10e9})
	var out strings.Builder
	r.WriteTables(&out, []Figure{{Key: "tcp1", Title: "TCP", Unit: "Gbit/s", Scale: 1e9}, {Key: "never"}}, Yardsticks{Ceiling: "veth"})
	for _, want := range []string{
		"|  | TCP, Gbit/s |\n|---|---:|\n| veth | 30.0 (20.0–40.0) |\n", "| tinc | not run |\n",
		"|  | TCP, ÷ veth |\n", "| ours | 0.38 (0.25–0.50) |\n",
		"- **tinc**: not run: tincd is not installed\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q:\n%s", want, out.String())
		}
	}
}

func TestAims(t *testing.T) {
	tcp, cpu := Figure{Key: "tcp1", Scale: 1e9}, Figure{Key: "cpu", Less: true}
	r := rounds("tcp1", map[string][]float64{"vxlan": {10e9, 20e9}, "slow": {1e9, 1e9}, "fast": {2e9, 4e9}, "ours": {6e9, 12e9}})
	r.Samples = append(r.Samples, Sample{System: "ours", Figure: "cpu", Value: 2})
	y := Yardsticks{Bridge: "vxlan", Peers: []string{"slow", "fast"}}
	var out strings.Builder
	r.WriteAims(&out, []Aim{
		{What: "bridge", System: "ours", Figure: tcp, To: "vxlan", Bound: 0.55},
		{What: "peer", System: "ours", Figure: tcp, To: BestPeer, Bound: 3.5},
		{What: "cpu", System: "ours", Figure: cpu, Bound: 1.9, DownToThis: true},
		{What: "plain", System: "ours", Figure: tcp, Bound: 9},
		{What: "unknown peer", System: "ours", Figure: cpu, To: BestPeer, Bound: 9},
		{What: "unknown", System: "nobody", Figure: tcp, Bound: 9},
	}, y)
	want := `| bridge | ≥ 0.55 | 0.60 (0.60–0.60) | reached |
| peer | ≥ 3.50 | 3.00 (3.00–3.00) | missed |
| cpu | ≤ 1.90 | 2.00 (2.00–2.00) | missed |
| plain | ≥ 9.00 | 9.00 (6.00–12.0) | reached |
`
	if !strings.HasSuffix(out.String(), want) || strings.Contains(out.String(), "unknown") {
		t.Errorf("the aims are\n%s\nwant\n%s", out.String(), want)
	}
}

func TestFindingsAreMerged(t *testing.T) {
	one := Result{Findings: []Finding{{Trial: "rekeys", What: "lost", Values: []float64{0}, Aim: "0"}}}
	two := Result{Findings: []Finding{{Trial: "rekeys", What: "lost", Values: []float64{4}, Aim: "0"}}}
	all := Merge([]Result{one, two})
	var out strings.Builder
	all.WriteFindings(&out)
	if want := "| rekeys | lost | 2 | 0 | 2.00 | 4.00 | 0 |\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the findings are\n%s\nwant\n%s", out.String(), want)
	}
}

func TestReplaceTouchesOnlyItsSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n<!-- bench: x -->\nold\n<!-- end of bench: x -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time changes nothing
		if err := Replace(path, "x", func(w io.Writer) { fmt.Fprintln(w, "new") }); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if want := "before\n<!-- bench: x -->\n\nnew\n\n<!-- end of bench: x -->\nafter\n"; err != nil || string(text) != want {
		t.Errorf("the document is %q, %v; want %q", text, err, want)
	}
	if err := Replace(path, "y", func(w io.Writer) { fmt.Fprintln(w, "new") }); err == nil {
		t.Error("a section that is not there is no error")
	}
}
