// Package nemesis holds what clients saw of an agent against what one machine that never fails would have shown:
// it records histories of the examples kv, lock and counter, and reports whether they are linearizable. It serves
// tests only.
//
// A history is complete: a call whose outcome its caller never learnt stays open to the end, and may have
// happened at any time after it began, or not at all.
package nemesis
