package wire

// Limits that both sides keep. A sender refuses to exceed them, a receiver refuses what does.
const (
	MaxFrame    = 4 << 20  // bytes of one request or reply
	MaxDoor     = 64 << 10 // bytes of a message to or from a peer that is not a member
	MaxRecord   = 16 << 10 // bytes of a signed peer record
	MaxBlock    = 2 << 20  // bytes of one block (bitswap's limit as well)
	MaxModule   = 64 << 20 // bytes of a WebAssembly module
	MaxElements = 1 << 18  // elements of an array or map in one message
)
