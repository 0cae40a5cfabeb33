//go:build !race

package proxy

// defaultWorlds takes some 10 s on one core.
const defaultWorlds = 150

// defaultHistories takes some 10 s on one core.
const defaultHistories = 10
