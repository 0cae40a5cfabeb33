//go:build race

package proxy

// defaultWorlds takes some 15 s under the race detector on one core.
const defaultWorlds = 20

// defaultHistories takes some 10 s under the race detector on one core.
const defaultHistories = 2
