// Package state measures mergeable state on real nodes, each a process: increments by guests, and how soon and with how many bytes
// changes made on each node are on all.
package state
