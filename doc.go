// Package shoal is the ground of the fabric: the verbs that rooms offer one another and the values
// they exchange. It imports the standard library and go-cid, and nothing else, so that every room
// can stand on it.
//
// A fabric is the set of nodes that share a root key. A node is one running binary; a peer is a
// node as another node sees it. Data lies on peers under content identifiers; functions are
// WebAssembly modules under content identifiers too, and travel to the peers that hold their data.
//
// The verbs, one contract each:
//
//	Directory  find   which peers announced a key (hints; truth is with the peers)
//	Peers      ask    one peer, by name: small calls on shared streams, large bodies on their own
//	Store      keep   blocks of bytes under their CID, durable once Put returns
//	Runner     run    one WebAssembly command, in a sandbox, with limits
//
// Laws that hold for every implementation:
//
//   - No implementation keeps or changes a slice, map or reader after the call that received it
//     returns, unless the method says so; what a method returns belongs to the caller.
//   - Every method may be called from many goroutines at once, unless it says otherwise.
//   - A context that ends stops the call; the error then has kind Canceled or Timeout.
//   - Errors are *Error, with a Kind from a closed list that survives the wire, and read
//     "what: why: what to try".
//   - A call that stays on this node is a function call: it crosses no socket.
//
// Package shoaltest holds an in-memory double and a conformance suite for each contract.
package shoal
