package kad

// Sizes are bytes of messages on a stream, each behind its length of one or two bytes. A test holds them against those of kad-dht. A peer
// has one address, of IPv4 and TCP.
const (
	SizeAsk      = 33 // FIND_NODE for a key of 26 characters, such as package dht draws
	SizeSeek     = 41 // GET_PROVIDERS for the multihash of a SHA-256
	SizeAnswer   = 5  // that names nobody
	SizePeer     = 54 // more, for each that an answer names, when the replier is connected to it; else 52
	SizeAnnounce = 93 // ADD_PROVIDER
)

// SizeStream is what the two ends of a stream of kad-dht say at its begin, once: that they speak multistream-select, and the protocol.
// prefix is that of the fabric's protocols, "/shoal/NAME".
func SizeStream(prefix string) int {
	return 2 * (len("\x13/multistream/1.0.0\n") + len("x"+prefix+"/kad/1.0.0\n"))
}
