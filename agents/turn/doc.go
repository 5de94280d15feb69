// Package turn is the life of one agent as a state machine over a key-value state: what the log entry of a
// turn holds, how turns are staged on top of others that are not committed yet, how a request that comes
// again gets its recorded reply, and what applying an entry does to the state.
//
// It is pure: the same entries applied to the same state give the same state on every keeper, in the
// simulator and in production. The log carries effects (what to write, reply, send, set), never commands, so
// the code of an agent need not be deterministic.
//
// A state is one ordered map. The first byte of a key says whose it is:
//
//	u  what the agent's code keeps              r  recorded replies, by session and number
//	s  sessions of callers                      n  next number of the outbox, by receiver
//	o  outbox, by receiver and number           i  last message received, by sender
//	t  timers, by name                          x  messages that nobody would take
//	m  the rest: code, time, bytes, floors
//
// Requests. A caller numbers its calls of one agent within a session, and says up to where it has all
// replies: those are forgotten. A session that was not used for Retention expires, by an entry of the log: its
// requests are answered with Unknown from then on, and never run. A request that its user named is a
// session of its own; it expires to a mark that stays.
package turn
