// Package fair says whose task is next on a node: start-time fair queueing (P. Goyal, H. M. Vin and H. Cheng,
// "Start-time Fair Queueing: A Scheduling Algorithm for Integrated Services Packet Switching Networks",
// SIGCOMM 1996) over the owners of tasks, with several slots served at once as in SFQ(D) (W. Jin, J. S. Chase
// and J. Kaur, "Interposed Proportional Sharing for a Storage Service Utility", SIGMETRICS 2004).
//
// Each owner's tasks wait in order of arrival. The head of an owner's line has a start tag: where the
// owner's last task ended in virtual time, or the present virtual time if that is later. The lowest tag
// is next; a task takes its owner's end forward by seconds over weight. So owners that wait at the same
// time get slot time by weight, whatever the length of their lines and of their tasks, and an owner that
// was idle has neither credit nor debt.
//
// How long a task takes is known when it has ended, and only then it moves the owner's end (as quanta do in
// P. Goyal, X. Guo and H. M. Vin, "A Hierarchical CPU Scheduler for Multimedia Operating Systems", OSDI 1996).
// While it is served its owner's tag is ahead by what the owner's recent tasks took. That guess decides who
// is next and is then forgotten; it never gets into virtual time, where a newcomer would have to wait for
// it to come true.
//
// Lines are bounded per owner and in all. When all is full, an owner that has less waiting for its weight
// than another gets in, and the last task of the one with most makes way.
//
// The package is pure. A Queue is not safe for concurrent use.
package fair
