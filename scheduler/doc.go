// Package scheduler runs tasks where their data lies. Each node has one; none is central. The node
// that a task is given to, its home, chooses a peer by the cost model (scheduler/cost), sends the
// task there, streams its input and output, and tries elsewhere when the peer fails. The same
// package is the other side as well: the executor with its slots, its bounded queue, and the logs.
//
// What it promises:
//
//   - A task that stays on its home is a function call: nothing of it crosses a socket.
//   - A peer that has all inputs and a free slot gets the task; the cost decides the rest.
//   - Facts are hints: what peers say of their queues is asked for at most every 250 ms per peer
//     and job, and what this node has sent meanwhile is added. The runner alone knows what it has.
//   - A task whose peer is lost runs again elsewhere, unless its output was already shown or its
//     input read. A program that failed by itself, or ended with an exit code, is not run again.
//   - A runner that loses the connection to a task's home cancels the task.
//   - The slots of a node are shared fairly among the owners of waiting tasks (scheduler/fair): one
//     that sends a thousand does not delay another's by more than its share.
//   - Queues, logs, records and frames are bounded. A full queue refuses with Overloaded, names the
//     owner, and says when to come back.
//   - Records and logs outlive the node; a task that ran when its node stopped has failed.
//
// Messages: "task.offer", "task.show", "task.wait", "task.list", "task.cancel" are asked;
// "task.run" and "task.logs" are streams of frames (frame.go).
package scheduler
