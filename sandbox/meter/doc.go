// Package meter writes a gas counter into WebAssembly modules: what comes out computes what went in did,
// counts the work in a global, and asks the host for more when the count runs out. So a guest is bounded
// by its work, gives the processor back every so often, and costs the same on every machine. And it has the
// host look at the guest's call stack every so often.
//
// How it counts:
//   - The counter, a mutable i64 global, is what is left. It is taken down at the entry of each function
//     and at the head of each loop by the number of instructions there, whether or not all of them run;
//     a stretch without a loop that is longer than 10,000 instructions is charged in parts.
//   - It is tested before it is taken down, and at or below zero the guest calls the host, which may end
//     it. That call sits in a second loop around each loop: inside the hot one its mere presence would
//     cost up to twice the time.
//   - Operations on a whole range of memory or of a table go through a function that charges by length
//     first, and does large ranges in pieces. So does each imported function, which may also refuse
//     lengths that no honest program asks for.
//   - A second global, an i32, is the stack that may be taken before the host looks. A function that calls others takes
//     what its frame may be off it at its entry, and gives nothing back: the host sees how deep the stack really
//     is, and this only bounds how much deeper it can be at its next look. It costs no gas.
//
// What the host must do is in Rewrite. What this must get right, since a guest could free itself
// otherwise, is that no index which the guest gives can mean something that was added here.
package meter
