// Package job is the life of a task on paper: what its name says, what is recorded of it, how one
// asks for a run, and what follows from a failure. It is shared by the rooms that run tasks
// (scheduler) and those that run many (plans).
//
// A TaskID is "t" and 26 characters of lower-case base32: 80 random bits, then 50 bits of the hash
// of the task's home, the node that looks after it. So any node that knows the members knows whom
// to ask about a task, and nothing has to be announced per task. The tasks of a job are ID/0,
// ID/1, and so on; they share its home.
//
// The package is pure: randomness and time are arguments.
package job
