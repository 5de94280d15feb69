// Package log is the log of a durable topic and the positions of its consumers, as functions over an agent's state. It is pure.
//
// What is appended in one turn lies under one key, or a few if it is much, named by its last offset: so the first key from an
// offset on has that offset. A small record, the head, knows what else an append must: it costs one read and two writes,
// however long the log is and whatever waits for it.
//
// A consumer is a floor, below which all is settled (acknowledged or given up), a front, from which on nothing was delivered,
// and runs of what lies between and is not settled. What was given up is copied to the consumer's list of the dead.
//
// Age and bytes bound the log. A consumer that holds keeps what it has not settled from being dropped, whatever its age;
// when what it keeps takes all the bytes, appends are refused with Overloaded. A consumer that does not hold misses what
// was dropped, and is told how much that was.
package log
