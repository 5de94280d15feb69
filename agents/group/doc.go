// Package group is one Raft group of an agent's keepers, as seen by one of them, as a state machine around
// etcd's RawNode. Events and the present time go in; what is to be written, sent and applied comes out of
// Take. It opens nothing, starts no goroutine, reads no clock, and is not safe for concurrent use.
//
// A keeper's life: Birth makes the first state of a group (only while the agent's name is pending: a node
// without state stays silent, unknown is not empty); Open loads it; after every event the caller calls Take
// and does what it says:
//
//	Persist  write the batch to the store, with one fsync for many groups if Sync is set, then call Persisted
//	Send     send each envelope to its peer; order and loss do not matter
//	Apply    apply the entries in order to the agent's state, together with Mark, then call Applied; when that
//	         state is on disk, Synced
//	Leads    begin (Leading) or stop being the activation
//	Reads    answer reads that waited for a quorum round
//	Ship     stream the applied state and its Mark to a member, which puts it in the place of what it has
//	         (Joined, Restored), syncs it, and only then opens the group; then call Shipped
//	Sleep    the group may leave memory, if it is Quiet
//	Removed  delete the state, and leave a note of it
//
// and calls Wake when Next is due. Writes of one group reach its disk in the order in which they were given
// out, marks included. Nothing is acknowledged before its fsync, but appends leave before it: the leader's disk
// and the followers' work at the same time.
//
// # House rules
//
// Raft alone is not enough for agents that sleep, move and are read without a round trip. Each rule here
// answers a failure that was seen:
//
// Proposals are made by an open leader and never forwarded. Each names its term and the turn before it, and
// applying discards one of which either is not so (apply.go).
//
// A leader is open when its own term's first entry, the barrier, is applied. Before that it proposes nothing,
// reads nothing and changes no membership (lead.go).
//
// Leases are not raft's, which checks no clock (lease.go). Each append or heartbeat of a leader says when it
// was sent; whoever acknowledges it promises to vote for nobody for the length of a lease, and the leader
// counts from the sending, a little less than that length, as clocks may differ. A promise names term, leader
// and the leader's incarnation. It outlives the group's eviction from memory: the caller keeps Promise and gives
// it back to Open. After its start a node promises as if it had just acknowledged the longest lease there is
// (Booted). A leader that hands over, sleeps or resigns first gives its lease up for the rest of its term; that
// fact, the released term, rides on every message and ends promises early.
//
// Nothing ticks per group (election.go). Liveness is the node's, two-way and with incarnations: Suspect and
// Alive. A follower campaigns when its leader's node is suspected, has begun a new incarnation, or the leader
// of an awake group is silent for long; in the order of rank, and never while it has promised. A leader whose
// disk is stuck, or whom nobody follows, resigns.
//
// Members are named in the log and their IDs are never used again (conf.go). A newcomer learns first, from a
// shipped state, and becomes a voter by one joint change, which may remove another. Who is removed stays until
// the group has gone on without it, since those who stay may still need its vote, or what it knows.
//
// Between histories of one agent, order is (generation, configuration index, term). A group that hears of a
// newer generation is sealed.
//
// Stored state that contradicts itself, and whatever makes raft panic, quarantines this one group.
package group
