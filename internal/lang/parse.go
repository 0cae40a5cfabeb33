package lang

import (
	"slices"
	"strconv"
)

// Parse reads a file. The error is Errors, all of them at once; the file is then nil.
func Parse(name string, text []byte) (*File, error) {
	p := &parser{bad: &complaints{file: name}, file: &File{Name: name}}
	if len(text) > MaxFile {
		p.bad.add(Pos{1, 1}, "the file is too large: files have at most %d bytes", MaxFile)
		return nil, p.bad.err()
	}
	p.lex = lexer{rest: text, bad: p.bad}
	p.run()
	if err := p.bad.err(); err != nil {
		return nil, err
	}
	p.judge()
	if err := p.bad.err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// parser belongs to one Parse.
type parser struct {
	lex     lexer
	bad     *complaints
	file    *File
	block   *Part    // that is open
	gap     bool     // an empty line was just read
	before  []string // comments above what comes next
	version bool     // the version line was read
}

func (p *parser) run() {
	for !p.bad.full() {
		l, more := p.lex.next()
		if !more {
			break
		}
		switch {
		case l.bad:
		case l.blank && l.comment == "":
			p.flush()
			p.gap = true
		case len(l.words) == 0:
			p.before = append(p.before, l.comment)
		default:
			if !p.line(l) {
				return
			}
		}
	}
	if p.block != nil {
		p.bad.add(p.block.at, "the block %q is not closed: end it with a line \")\"", p.block.Key)
		return
	}
	p.flush()
	if !p.version && !p.bad.full() {
		p.bad.add(Pos{1, 1}, "the version line is missing: begin with \"vnet %d\"", Version)
	}
}

// flush makes comments that stand alone a part of their own.
func (p *parser) flush() {
	if len(p.before) > 0 {
		p.put(&Part{})
	}
}

// put adds a part with the comments and the empty line before it.
func (p *parser) put(part *Part) {
	part.Gap, part.Before = p.gap, p.before
	p.gap, p.before = false, nil
	if p.block != nil {
		p.block.Lines = append(p.block.Lines, part)
	} else {
		p.file.Parts = append(p.file.Parts, part)
	}
}

// line takes one line with words; false stops the parser.
func (p *parser) line(l line) bool {
	first, last := l.words[0], l.words[len(l.words)-1]
	switch {
	case first.text == ")":
		p.closeBlock(l)
	case p.block != nil && slices.ContainsFunc(l.words, paren):
		at := l.words[slices.IndexFunc(l.words, paren)].at
		p.bad.add(at, "a parenthesis inside the block %q: blocks do not nest; close it with a line \")\" first", p.block.Key)
		return false
	case first.text == "(":
		p.bad.add(first.at, "a block without a first word: write one of %s before the \"(\"", listed(keywords()))
		return false
	case last.text == "(" && len(l.words) == 2:
		return p.openBlock(l)
	case slices.ContainsFunc(l.words, paren):
		at := l.words[slices.IndexFunc(l.words, paren)].at
		p.bad.add(at, "a parenthesis within a line: a block begins with a line \"WORD (\" and ends with a line \")\"")
		return false
	case p.block != nil && p.block.unknown: // said once
	case p.block != nil:
		p.statement(p.block.Key, first.at, l.words, l)
	default:
		return p.whole(l)
	}
	return true
}

func paren(w word) bool { return w.text == "(" || w.text == ")" }

func (p *parser) closeBlock(l line) {
	switch {
	case p.block == nil:
		p.bad.add(l.words[0].at, "\")\" closes nothing: a block begins with a line \"WORD (\"")
		return
	case len(l.words) > 1:
		p.bad.add(l.words[1].at, "%q after \")\": nothing but a comment may follow", l.words[1].text)
	}
	p.flush()
	p.block.Close = l.comment
	p.gap, p.block = false, nil
}

func (p *parser) openBlock(l line) bool {
	key := l.words[0]
	if !p.begun(key) {
		return false
	}
	part := &Part{Key: key.text, After: l.comment, at: key.at}
	if part.unknown = !slices.Contains(keywords(), key.text); part.unknown {
		p.unknown(key)
	}
	p.put(part)
	p.block = part
	return true
}

// begun says whether the version line was read, and complains once if not.
func (p *parser) begun(first word) bool {
	if !p.version {
		p.bad.add(first.at, "%q before the version line: begin with \"vnet %d\"", clip(first.text), Version)
	}
	return p.version
}

func (p *parser) unknown(w word) {
	p.bad.add(w.at, "%q is no word to begin a line with: use %s%s", clip(w.text), listed(keywords()), suggest(w.text, keywords()))
}

// whole takes a line with its key.
func (p *parser) whole(l line) bool {
	key := l.words[0]
	if key.text == "vnet" {
		return p.versionLine(l)
	}
	if !p.begun(key) {
		return false
	}
	if !slices.Contains(keywords(), key.text) {
		p.unknown(key)
		return true
	}
	end := key.at
	end.Col += len(key.text)
	p.statement(key.text, end, l.words[1:], l)
	return true
}

func (p *parser) versionLine(l line) bool {
	at := l.words[0].at
	switch {
	case p.version:
		p.bad.add(at, "a second version line: one is enough")
		return true
	case len(l.words) != 2:
		p.bad.add(at, "a version line is \"vnet %d\"", Version)
		return false
	}
	n, err := strconv.ParseUint(l.words[1].text, 10, 32)
	switch {
	case err != nil || n == 0:
		p.bad.add(l.words[1].at, "%q is no version of the language: use %d", clip(l.words[1].text), Version)
		return false
	case n > Version:
		p.bad.list = nil
		p.bad.add(l.words[1].at, "this file is written in version %d of the language, and this program knows version %d: use a newer vnet", n, Version)
		return false
	}
	p.version = true
	p.put(&Part{Is: versionStatement{}, After: l.comment, at: at})
	return true
}

// versionStatement is "vnet 1".
type versionStatement struct{}

// Key is "vnet".
func (versionStatement) Key() string { return "vnet" }

// Words is the version.
func (versionStatement) Words() []string { return []string{strconv.Itoa(Version)} }

// statement reads the words behind a key.
func (p *parser) statement(key string, at Pos, words []word, l line) {
	r := &reader{words: words, end: at, bad: p.bad}
	if len(words) > 0 {
		last := words[len(words)-1]
		r.end = Pos{last.at.Line, last.at.Col + len(last.text)}
	}
	is := readers()[key](r)
	r.done(key)
	part := &Part{Is: is, After: l.comment, at: at}
	if len(words) > 0 {
		part.at = words[0].at
	}
	p.put(part)
}

// clip keeps long words from filling the screen.
func clip(s string) string {
	if len(s) > longestWord {
		return s[:longestWord] + "…"
	}
	return s
}
