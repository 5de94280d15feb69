// Package reserve keeps the reservations of a machine's devices: whole ones, or a share of the memory of
// one. No device is given twice, no share beyond its memory, and what was given comes back once. A device
// that fails is drained: who has it keeps it, nobody else gets it, and it is shown.
//
// The package is pure; a Ledger is for one goroutine at a time.
package reserve
