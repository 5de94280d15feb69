//go:build race

package dht_test

// underRace: the detector makes everything several times slower, so bounds in real time do not hold.
const underRace = true
