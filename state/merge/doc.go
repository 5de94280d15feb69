// Package merge is state that any node changes by itself and that becomes the same everywhere: counters,
// registers and sets, and maps whose fields are these (conflict-free replicated data types; Shapiro, Preguiça,
// Baquero, Zawirski: A comprehensive study of convergent and commutative replicated data types, 2011). It is
// pure: changes and what others tell go in, rows for the disk and what to tell others come out.
//
// A Replica numbers its operations. A Space knows, of each replica, up to which number it has seen all, and it
// keeps those operations only that still have an effect: the latest total of a counter, the values of a register
// that nobody has seen and overwritten, an element's last addition. What is seen and not kept has been taken
// away, so removals need no tombstones (as in Bieniusa et al.: An optimized conflict-free replicated set, 2012).
// An operation that takes others' away is kept until all members have it, and then forgotten as well; whoever asks from before that
// is given everything (Whole).
//
// Merging is associative, commutative and idempotent: Take may be called with deltas in any order, more than
// once. Of one replica they must join: one that begins after what is seen leaves a gap, and is refused.
package merge
