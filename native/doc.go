// Package native runs native executors: commands that the operator of this node lists, for tasks that name
// one. Such a command is not confined. It may do everything that the node's user may; what is here keeps
// count of it and puts an end to it.
//
// What it promises:
//
//   - Devices are reserved before a command starts (scheduler/reserve), and are free again when the last of
//     its processes has gone, not before.
//   - A command, and all that it started, ends when the task does: by itself, canceled, at a limit, or with
//     the node, also when the node is killed. It is asked first (SIGTERM), and a second later killed. On
//     Linux those that left the process group are found as well.
//   - Memory and processes are limited by a cgroup (version 2) where this node may make one, else by
//     rlimits as far as these go, and the outcome says which it was.
//   - The command sees no variable of the node's environment but PATH and LANG; the others are made here or
//     listed by the operator.
//   - Inputs are a real folder. Files of a dataset that lie in place are linked, not copied, and a result
//     is refused if one of them changed meanwhile.
//
// Between the node and a command stands a process of this same program, the ward (Main): it is the parent of
// all that the command starts, and outlives the node for as long as it takes to end them.
package native
