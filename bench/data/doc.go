// Package data compares fetching a dataset from one member to another with a bare libp2p stream of the
// same bytes and with bitswap.
package data
