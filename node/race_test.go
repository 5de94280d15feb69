//go:build race

package node

// underRace: the detector makes everything several times slower, so that less is asked for.
const underRace = true
