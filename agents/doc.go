// Package agents keeps agents: durable, addressable, single-writer programs that outlive the machine they run on.
//
// What it promises:
//
//   - An agent processes one message after the other. What a turn changed is on the disks of a majority of the
//     agent's keepers when its caller has the reply; a turn that fails, or whose leader is lost, changed nothing.
//   - A request that is asked again, under its name, by whomever, happens once and gets the recorded reply.
//   - Messages to other agents arrive once, in order, after the turn that sent them; timers fire once.
//   - The agent is in one place at a time. When that is lost, another keeper goes on, with all that was
//     acknowledged; without a majority the agent refuses, and never forks.
//   - An agent that nobody uses takes disk and no memory, clock or goroutine.
//
// How. An agent's key is the hash of its signed genesis record; names are kept by directories, which are agents.
// Its keepers form a group (agents/group), whose leader is the activation; what a turn does is an entry of the
// group's log (agents/turn). Both are pure; this package is their hands:
//
//	actor.go   one group in memory: what it asks for is written, sent, applied
//	turns.go   the activation: mailbox, turns, reads, what agent code may do
//	calls.go   the caller's side: finding the leader, asking again, numbering requests
//	serve.go   the keeper's side of calls; where agents are; show
//	create.go  names                          birth.go, batch.go  births, many at once      remove.go  the end
//	spare.go   an instance that is opened while the keepers elect
//	post.go    messages between nodes, and signs of life
//	writer.go  batches of all groups to the disk, one sync for those that wait
//	tend.go    timers, outbox, sleep          repair.go, drain.go, ship.go  who keeps an agent, and how newcomers get its state
//	pull.go    what an agent pays for distance to what it reads and calls, and the move that ends that
//	store.go   the layout of the table
//
// One lock order holds: an actor's, then the room's, then those of post and writer. Nothing waits for a disk or a
// peer under an actor's lock, save reads of the local table and its unsynced writes.
package agents
