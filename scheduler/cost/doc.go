// Package cost says what it would take, in seconds, to run a task on a peer, and why.
//
//	cost = wait in the queue + code bytes missing / rate + data bytes missing / rate
//	     + compilation if not cached + work / speed of the hardware + latency
//
// Every term is in seconds, so that moving code, moving data and waiting compare. Rates are
// measured; where nothing was measured yet a stated default stands in. Equal costs are ordered by a
// seeded hash of task and peer, so that a seed repeats a decision and equals share the load.
//
// One rule stands above the sum: data pulls. A peer that holds all inputs and has a free slot gets
// the task; one whose slots are taken loses it only to a peer that is clearly cheaper (see Margin).
// It keeps small errors in the estimates from moving large amounts of data.
//
// The package is pure: it reads no clock, and the same facts give the same answer.
package cost
