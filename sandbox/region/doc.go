// Package region sets memory aside for guests: outside Go's heap where the system allows, so that it
// never moves, costs the collector nothing, and is gone at once; and counts what all guests together have.
package region
