// Package graph is the life of a map/reduce job as a state machine: which tasks may start and
// where, how many at once, what is tried again, when the job has ended and how.
//
// Each map task has holders, the nodes that have its input. A node is given tasks up to a window (a
// few per slot), first those it was assigned, which balances bytes over the holders, then any other
// whose input it has. A task goes to a node without its input only when none of its holders is up,
// or when a holder's backlog would keep it waiting much longer than its input takes to travel.
//
// A task that is on its way far longer than others took gets a second copy (copies.go); the first result
// counts.
//
// A map task has finished when its output is safe at the coordinator. An output that is lost before
// the reducer has read it makes its task pending again, and the job goes on.
//
// The package is pure: time and dice are arguments, effects are return values. A Graph is not safe
// for concurrent use.
package graph
