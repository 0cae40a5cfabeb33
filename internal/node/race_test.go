//go:build race

package node

// raced: an hour of a node's ticks takes a minute under the race detector.
const raced = true
