// Package view is the member table of one node, as a state machine: signed facts, the time and
// random numbers go in, decisions come out. It opens no connection, reads no clock and starts no
// goroutine; package members does that and holds its lock. A View is not safe for concurrent use.
//
// There are two kinds of facts. A Record is what a member says of itself: addresses, attributes,
// load. A Departure says that a membership is over: signed by the member that left, or, with the
// credential of its signer, by a member that declared another dead for good.
//
// Each fact has a version, and for each member the view keeps the greatest record and the greatest
// departure it was offered. Taking the maximum is commutative, associative and idempotent, so views
// that were offered the same facts agree, in whatever order, however often. The first part of a
// version is the life: a number that grows each time a node joins anew. A departure ends all lives
// up to its own, so it beats every older record, and never a later membership.
//
// Facts spread in two ways. Rumours: each fresh fact is pushed to a few random peers, until enough
// of them knew it already (Demers et al., Epidemic algorithms for replicated database maintenance,
// 1987: rumour mongering with feedback and counter). Anti-entropy: two views compare one checksum,
// then, where it differs, versions by ranges of keys, and exchange what the other lacks.
//
// Liveness is this node's own opinion and does not spread: it follows from when the member last
// answered this node, from when it first failed to, and from the age of its record against the time
// for which the record was said to hold. So a link that is broken in one place troubles nobody
// elsewhere.
package view
