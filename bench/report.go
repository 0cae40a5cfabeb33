package bench

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Row is one thing that was measured. Times are milliseconds; zero is none.
type Row struct {
	Lab    string    // "near" or "city"
	What   string    // in words
	Values []float64 // one a round
	Aim    float64   // what we want the median to be below
	Paper  float64   // what the paper took
}

// Quantile is the value below which the share q of all lie, by the nearest rank.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// Median is the middle value.
func (r Row) Median() float64 { return Quantile(r.Values, 0.5) }

// WriteCSV writes one line a row into a file.
func WriteCSV(path string, rows []Row) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write the results: %w", err)
	}
	w := csv.NewWriter(f)
	_ = w.Write([]string{"lab", "what", "rounds", "median_ms", "min_ms", "p95_ms", "max_ms", "aim_ms", "paper_ms"}) // Error has it
	for _, r := range rows {
		line := []string{r.Lab, r.What, fmt.Sprint(len(r.Values))}
		for _, v := range []float64{r.Median(), Quantile(r.Values, 0), Quantile(r.Values, 0.95), Quantile(r.Values, 1), r.Aim, r.Paper} {
			line = append(line, fmt.Sprintf("%.3f", v))
		}
		_ = w.Write(line)
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return fmt.Errorf("cannot write the results: %w", err)
	}
	return f.Close()
}

// WriteTable writes the rows as a table of Markdown.
func WriteTable(w io.Writer, rows []Row) {
	fmt.Fprintln(w, "| lab | what | rounds | median ms | min | p95 | aim | paper |")
	fmt.Fprintln(w, "|---|---|---:|---:|---:|---:|---:|---:|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %s | %d | %s | %s | %s | %s | %s |\n", r.Lab, r.What, len(r.Values),
			number(r.Median()), number(Quantile(r.Values, 0)), number(Quantile(r.Values, 0.95)), number(r.Aim), number(r.Paper))
	}
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Machine describes where the numbers come from, in one line.
func Machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // without it the line says less
	return fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}
