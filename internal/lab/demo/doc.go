// Package demo is the story that `vnet demo` tells: an application starts on the star, the overlay sees what it does,
// reshapes itself, and the application gets faster.
//
// It builds a lab, runs the real daemons and the real benchmark in it, and reports what was measured. It draws nothing
// (see cmd/vnet) and tells the daemons nothing that a user could not.
package demo
