// Package plans runs jobs: a program over every partition of a dataset, where the partitions lie
// (the map stage), and, if asked for, a program over all their outputs (the reduce stage). The node
// that a job is given to coordinates it; package graph decides, the scheduler runs the tasks.
//
// What it promises:
//
//   - A partition's task goes to a peer that holds the partition as long as one is up (graph says
//     when a long backlog makes an exception).
//   - Each task's output counts once, whatever fails meanwhile. The coordinator fetches the outputs
//     as tasks finish (class "result"), so that the loss of a runner costs only what it was running.
//   - A task that is on its way far longer than others took gets a second copy on a node that has nothing
//     else to do (graph/copies.go has the rule). The first result counts, the other copy is canceled.
//   - The reducer sees the outputs as folders /data/00000, /data/00001, ... in the order of the
//     partitions; tasks that left nothing have no folder. It runs where they lie, on the
//     coordinator, unless the requirements say otherwise.
//   - What a task prints is printed once and whole, when its result is there (print.go has the rule). Why
//     it was placed as it was is kept, with the peers that were passed over.
//   - A program that traps, or in a job with a reducer ends with an exit code, fails the job; it is
//     named in the error, and its logs stay.
//   - A detached job outlives the call that began it and the coordinator's restart; finished tasks
//     whose outputs are still there do not run again.
package plans
