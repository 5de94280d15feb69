// Package hostcall is the host's side of docs/abi.md: what an agent's module may call during a turn.
//
// A Desk serves one instance. It reads the guest's arguments out of its memory, asks the turn's State and
// Effects, and writes the answer back. Whatever numbers the guest gives, a call ends in a result, in an
// error number, or in the end of the turn; never in a fault of the host. A host call outside a turn, as
// from a constructor, is answered with an error number.
package hostcall
