package kad

// Sizes of messages in bytes, each behind its length of one or two. TestSizes holds them against those of kad-dht. A peer has one address
// in them, of IPv4 and TCP.
const (
	sizeAsk      = 31 // FIND_NODE for a key of 26 characters, as package dht's
	sizeSeek     = 39 // GET_PROVIDERS for the multihash of a SHA-256
	sizeAnswer   = 6  // without peers
	sizePeer     = 54 // in an answer
	sizeAnnounce = 93 // ADD_PROVIDER
	sizeRecord   = 0
	sizeStream   = 0
)
