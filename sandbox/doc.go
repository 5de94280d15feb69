// Package sandbox runs WebAssembly over wazero: commands, as a shoal.Runner, and the code of agents, each module
// as a shoal.Behaviour.
//
// A command is WASI preview 1's. It gets arguments, an environment that the caller lists, its
// standard streams, /data read-only from an fs.FS, /out on the disk of this node, a clock of its own and
// seeded randomness; and nothing else: no network, no other file, no variable or clock of the host.
//
// What it promises:
//   - A module is compiled once per CID. Compiled code is kept in a directory, so that it is there
//     after a restart, and in memory while it is in use.
//   - /data is read where it lies: a read of the guest is a ReadAt of the file into the guest's memory.
//   - Nothing a guest does reaches a path outside /data and /out: paths are resolved by os.Root.
//   - Gas, memory, time and output of a run are bounded, and so is the memory of all guests together; the
//     error says which bound was met. A trap, a bound or a fault of the engine ends the run, not the
//     node.
//   - Every module is metered before it is compiled (sandbox/meter). A guest gives the processor back
//     about every millisecond, and the same module, arguments, input and seed cost the same gas on every
//     node; but for the depth at which a stack overflows, and input that arrives in other pieces.
//   - The calls of a guest take 16 MiB of stack at most: what takes more is a stack overflow. How deep that is
//     depends on the program, the engine and the machine; some ten thousand calls are well within it.
//   - Compiling is bounded too, if Config.Compiler is set: a child does it, and is killed if need be.
//
// An agent's instance gets what docs/abi.md says, through package hostcall: no file at all, and the turn's clock
// and dice. Its memory counts as that of runs does, for as long as it is open; a turn has gas of its own. A
// turn that traps, exits or meets a bound closes the instance, and so does the end of the turn's context.
//
// What it does not promise: each guest may use some 17 MiB beyond its memory limit for that stack, while it runs. A
// function whose one frame is larger than what is left of 32 MiB is not stopped before it has that frame.
//
// The compilation cache holds machine code: whoever can write its directory runs code as this node.
package sandbox
