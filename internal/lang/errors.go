package lang

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Pos is a place in a file: line and column from 1, the column in characters.
type Pos struct{ Line, Col int }

// Error is one thing wrong with a file.
type Error struct {
	File string
	Pos  Pos
	Text string // what is wrong, and what would be allowed
}

// Error is "file:line:col: what".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Col, e.Text)
}

// Errors are all things wrong with a file, in the order of the file.
type Errors []*Error

// Error prints one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors is how many errors are reported: more than fit on a screen help nobody, and a hostile file has millions.
const maxErrors = 50

// complaints collects errors; it belongs to one Parse.
type complaints struct {
	file string
	list Errors
}

func (c *complaints) add(at Pos, format string, args ...any) {
	if len(c.list) < maxErrors {
		c.list = append(c.list, &Error{File: c.file, Pos: at, Text: fmt.Sprintf(format, args...)})
	}
}

func (c *complaints) full() bool { return len(c.list) >= maxErrors }

// err is nil, or all complaints in the order of the file, each once.
func (c *complaints) err() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	return slices.CompactFunc(c.list, func(a, b *Error) bool { return *a == *b })
}

const (
	// farthest is how many letters may be wrong for a word to be a likely misspelling.
	farthest = 2
	// longestWord bounds what is compared, in bytes: no word of the language or name is longer.
	longestWord = 64
	// mostWords bounds how many names a misspelt one is compared with.
	mostWords = 1000
)

// suggest is " (did you mean X?)" for the nearest of the words, or nothing.
func suggest(word string, words []string) string {
	best, nearest := "", farthest+1
	if len(word) > longestWord {
		return ""
	}
	for _, w := range words[:min(len(words), mostWords)] {
		if d := distance(strings.ToLower(word), w); d < nearest && d < len(w) {
			best, nearest = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is how many letters differ between a and b: inserted, left out, other, or two swapped.
func distance(a, b string) int {
	if len(a)-len(b) > farthest || len(b)-len(a) > farthest {
		return farthest + 1
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
