package figures

import (
	"strings"
	"testing"
)

// The longest bar has the whole width, the others their share; what is not there has none.
func TestBarsAreAsLongAsTheirValues(t *testing.T) {
	var b strings.Builder
	f := Bars{Title: "a < b", Series: []string{"here", "there"}, Rows: []BarRow{
		{"one", []float64{10, 5}, []string{"10 s", "5 s"}}, {"two", []float64{2.5, -1}, []string{"2.5 s", ""}},
	}}
	if err := f.SVG(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`width="420.0"`, `width="210.0"`, `width="105.0"`, "a &lt; b", ">2.5 s<"} {
		if strings.Count(b.String(), want) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(b.String(), want), want, b.String())
		}
	}
	if n := strings.Count(b.String(), `font-size="9"`); n != 3 {
		t.Errorf("%d bars, want 3", n)
	}
}

func TestBarsOfATable(t *testing.T) {
	f := Tabled("x", "X", [][]string{{"cell", "policy", "ms"}, {"c", "star", "12.5"}, {"c", "none", "-"}}, []int{0, 1}, []int{2})
	if len(f.Rows) != 2 || f.Rows[0].Label != "c star" || f.Rows[0].Values[0] != 12.5 || f.Rows[1].Values[0] != -1 || f.Series[0] != "ms" {
		t.Errorf("%+v", f)
	}
}
