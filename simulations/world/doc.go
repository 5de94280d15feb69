// Package world simulates a cluster of complete nodes in one process and in virtual time: nothing of package node is replaced but
// the network (memnet), the disk, the clock and what guests compute. See package scenario for what is simulated, and package report
// for what is found.
//
// Virtual time is that of a testing/synctest bubble: it goes on when every goroutine in it waits for a timer, a channel or a
// condition of its own. What a goroutine does takes no time. These rules keep time going; each broken one makes it stand still
// without a word, so that Watch ends the process:
//   - no socket, pipe, child process or lock of a file inside the bubble;
//   - nobody sleeps, or waits for a channel, while it holds a mutex that others wait for;
//   - nobody waits for what happens outside, the end of a context included.
//
// Virtual time is no replay: goroutines that are ready at one moment run in any order, so two runs of one seed differ a little. The
// model replays.
//
// A bubble needs a *testing.T, so that a world runs in a child process of the same binary (Start), whose only work it is (Main):
// package testing stays out of a node's way.
package world
