// Package wire is how values become bytes: one canonical encoding (CBOR, RFC 8949 section 4.2.1
// core deterministic), one framing, and the limits that both sides of every protocol keep.
//
// The encoding is deterministic, so a signature over Marshal's bytes can be checked by whoever
// holds the value. Decoding is bounded in depth and size and refuses duplicate keys; unknown
// fields are ignored, so that a newer peer may say more. Messages live in the rooms that send them.
package wire
