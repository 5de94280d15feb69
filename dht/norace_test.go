//go:build !race

package dht_test

const underRace = false
