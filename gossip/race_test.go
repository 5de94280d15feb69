//go:build race

package gossip

const underRace = true
