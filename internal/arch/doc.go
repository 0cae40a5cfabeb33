// Package arch judges the import graph: which room may see which.
//
// It holds no code that runs in the program, only the test that compares the
// tree with the table of docs/design.md.
package arch
