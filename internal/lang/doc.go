// Package lang is the language in which people describe an overlay: a file's text, its syntax tree, its meaning.
//
// It does not read files (the caller has the bytes), does not know the live overlay, and changes nothing. docs/language.md
// is the reference; a test parses every example there.
package lang
