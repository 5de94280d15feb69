package meter

// Schedule is the version of the gas schedule: it changes with any change to what a module costs, or shares with its
// host. Code that was compiled under another is of no use.
const Schedule = 4

// The names that the rewritten module shares with its host. Guests may use none that begin so.
const (
	reserved = "shoal:"

	HostModule = "shoal:meter" // imports from it: Refuel and Deep
	Refuel     = "refuel"      // (what is left) -> what is left now, above zero
	Deep       = "deep"        // (i32) -> bytes of stack that may be taken before the next look
	Fuel       = "shoal:fuel"  // the exported counter
	Start      = "shoal:start" // the exported start function, if the module has one
)

// The prices, in gas. An instruction that is not listed costs 1.
const (
	stretch = 10_000 // instructions between two charges, at most

	gasLocals   = 8                // locals of a function for 1
	gasBytesLog = 1                // the logarithm of gasBytes
	gasBytes    = 1 << gasBytesLog // bytes of memory for 1
	gasBulk     = 10               // an operation on a range, besides its length
	gasGrow     = 200              // an attempt at growing, besides its length
	gasElement  = 2                // an element of a table
	gasInstance = 20_000           // an instance, besides its memory, tables and segments
	pageBytes   = 64 << 10
	pieceBytes  = 1 << 20 // of memory at a time: fresh pages come at a gigabyte a second

	pieceElements = 1 << 16 // of a table at a time
	gasPage       = pageBytes / gasBytes
	addressPages  = 1 << 16
)

// Call says what calling one imported function costs and may ask for.
type Call struct {
	Gas  uint32
	Caps []Cap
}

// Cap has a function return Else, an i32, without being called when its parameter, an unsigned i32, is
// larger than Most.
type Cap struct {
	Param, Most uint32
	Else        int32
}

// Info says what came of a rewriting.
type Info struct {
	Start    bool   // whether there is a start function to call
	Instance uint64 // gas of making an instance: its memory, tables and active segments
}
