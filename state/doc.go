// Package state keeps mergeable state: counters, registers, sets and maps of these, that every member reads and changes
// by itself, offline too, and that become the same everywhere (state/merge has the rules). Each node has
// all of it, in memory and on its disk.
//
// A node whose disk was set back to a backup notices when it hears others, who know of changes by it that it does not have, and goes on as
// another replica. What it changes before it has heard anybody may then be known by others as something else: fill such a
// node from the others, in a new directory, rather than from a backup.
//
// A change is durable here before anybody sees it, and on other disks before it is acknowledged if more than one
// copy is asked for. News are told at once, to all members while these are few and else to some; and every
// node compares what it has seen with another's from time to time, so that whoever was away or missed
// something has it soon.
package state
