package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	rows := []Row{{Lab: "near", What: "add rule", Values: []float64{3, 1, 2}, Aim: 1}, {Lab: "city", What: "nothing"}}
	var table strings.Builder
	WriteTable(&table, rows)
	if want := "| near | add rule | 3 | 2.00 | 1.00 | 3.00 | 1.00 |  |\n"; !strings.Contains(table.String(), want) {
		t.Errorf("the table lacks %q:\n%s", want, table.String())
	}
	path := filepath.Join(t.TempDir(), "results.csv")
	if err := WriteCSV(path, rows); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if want := "near,add rule,3,2.000,1.000,3.000,3.000,1.000,0.000\n"; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("the file lacks %q: %v\n%s", want, err, text)
	}
}
