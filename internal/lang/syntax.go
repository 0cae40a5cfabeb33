package lang

import "strings"

// Version is the version of the language that this program writes, and the only one it reads.
const Version = 1

// File is a file as it is written: what stands where, with its comments.
type File struct {
	Name  string // for errors
	Parts []*Part
}

// Part is a piece of a file: a line, a block of lines that share their first word, or a comment by itself.
type Part struct {
	Gap    bool      // an empty line stands before it
	Before []string  // the comments directly above it, each with its #
	After  string    // the comment behind it on its line; of a block, behind the "("
	Is     Statement // of a line; nil otherwise
	Key    string    // of a block: the first word of all its lines; empty otherwise
	Lines  []*Part   // of a block
	Close  string    // of a block: the comment behind the ")"

	at      Pos
	unknown bool // a block of a word that the language does not have
}

// Statement is what a line means.
type Statement interface {
	// Key is the first word.
	Key() string
	// Words are the others, in canonical form.
	Words() []string
}

// Statements are all of a file, in order.
func (f *File) Statements() []Statement {
	var all []Statement
	for _, p := range f.Parts {
		if p.Is != nil {
			all = append(all, p.Is)
		}
		for _, l := range p.Lines {
			if l.Is != nil {
				all = append(all, l.Is)
			}
		}
	}
	return all
}

// Format is the one canonical text of a file: single spaces, blocks indented by a tab, at most one empty line in a row, words
// in their canonical spelling. The order is the author's.
func Format(f *File) []byte {
	var b strings.Builder
	for i, p := range f.Parts {
		p.write(&b, "", i == 0)
	}
	return []byte(b.String())
}

func (p *Part) write(b *strings.Builder, indent string, first bool) {
	if p.Gap && !first {
		b.WriteByte('\n')
	}
	for _, c := range p.Before {
		b.WriteString(indent + c + "\n")
	}
	switch {
	case p.Is != nil && indent != "":
		writeLine(b, indent, strings.Join(p.Is.Words(), " "), p.After)
	case p.Is != nil:
		writeLine(b, "", strings.Join(append([]string{p.Is.Key()}, p.Is.Words()...), " "), p.After)
	case p.Key != "":
		writeLine(b, "", p.Key+" (", p.After)
		for i, l := range p.Lines {
			l.write(b, "\t", i == 0)
		}
		writeLine(b, "", ")", p.Close)
	}
}

func writeLine(b *strings.Builder, indent, text, comment string) {
	b.WriteString(indent + text)
	if comment != "" {
		b.WriteString(" " + comment)
	}
	b.WriteByte('\n')
}
