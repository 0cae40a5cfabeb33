package lang

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxFile is the largest file in bytes: 30,000 rules, many times what a person keeps in one file.
	MaxFile = 4 << 20
	// maxWord is the longest word in bytes; names end at 63, host names at 253 (RFC 1035 §2.3.4).
	maxWord = 255
)

// word is one word of a line.
type word struct {
	text string
	at   Pos
}

// line is one line, cut into words; parentheses are words of their own.
type line struct {
	words   []word
	comment string // canonical, with its #; empty = none
	at      Pos    // of the comment when there are no words
	blank   bool
	bad     bool // it was complained about
}

// lexer cuts a file into lines, one at a time.
type lexer struct {
	rest   []byte
	number int
	bad    *complaints
}

// next is the next line; false at the end.
func (x *lexer) next() (line, bool) {
	if len(x.rest) == 0 {
		return line{}, false
	}
	text := x.rest
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text, x.rest = text[:i], text[i+1:]
	} else {
		x.rest = nil
	}
	x.number++
	return x.cut(bytes.TrimSuffix(text, []byte("\r"))), true
}

func (x *lexer) cut(text []byte) line {
	l := line{at: Pos{x.number, 1}}
	col, start, startCol := 1, -1, 0
	end := func(i int) {
		if start >= 0 {
			if i-start > maxWord {
				x.bad.add(Pos{x.number, startCol}, "a word of %d bytes: words have at most %d", i-start, maxWord)
				l.bad = true
			} else {
				l.words = append(l.words, word{string(text[start:i]), Pos{x.number, startCol}})
			}
			start = -1
		}
	}
	for i := 0; i < len(text); col++ {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			x.bad.add(Pos{x.number, col}, "byte 0x%02x is not UTF-8: write the file in UTF-8", text[i])
			l.bad = true
			return l
		case r == '#':
			end(i)
			if l.comment = x.remark(text[i+1:], col+1); len(l.words) == 0 {
				l.at.Col = col
			}
			return l
		case r == ' ', r == '\t':
			end(i)
		case unicode.IsControl(r), unicode.IsSpace(r), r == '\ufeff':
			x.bad.add(Pos{x.number, col}, "character %U: words are parted by spaces and tabs, other control characters and spaces are not allowed", r)
			l.bad = true
			return l
		case r == '(', r == ')':
			end(i)
			l.words = append(l.words, word{string(r), Pos{x.number, col}})
		case start < 0:
			start, startCol = i, col
		}
		i += size
	}
	end(len(text))
	l.blank = len(l.words) == 0
	return l
}

// remark is a comment in its canonical form.
func (x *lexer) remark(text []byte, col int) string {
	for i := 0; i < len(text); col++ {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && r != '\t' {
			x.bad.add(Pos{x.number, col}, "a comment with a control character or a byte that is not UTF-8: comments are text")
			return "#"
		}
		i += size
	}
	body := strings.TrimRight(string(text), " \t")
	if body == "" || body[0] == ' ' || body[0] == '\t' || body[0] == '#' {
		return "#" + body
	}
	return "# " + body
}
