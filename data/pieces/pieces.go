// Package pieces is what travels on a fetch stream: requests for blocks one way, blocks the other, each
// held against its CID while it is read. It is pure; what is sent, and to whom, data decides.
//
// A request is a frame of wire with a Want. Answers come in the order of the requests: each is its length
// as a varint, a kind, the length of a CID, the CID, and then the block or the reason why there is none.
package pieces

import (
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Want is one request.
type Want struct {
	Blocks [][]byte `cbor:"w,omitempty"` // CIDs: one answer each, in order
	Under  []byte   `cbor:"u,omitempty"` // CID: the inner nodes of its graph, in order of Walk, then an end
}

// Limits on a fetch stream.
const (
	MaxWant    = 1024      // blocks of one request
	MaxWantLen = 192 << 10 // bytes of one request
	MaxUnder   = 512       // inner nodes of one answer
	UnderBytes = 2 << 20   // bytes of inner nodes after which an answer ends
	MaxWhy     = 4 << 10   // bytes of the reason why a block is missing
	maxCID     = 128       // bytes
)

// ParseWant decodes a request: for blocks, or for the inner nodes under one.
func ParseWant(frame []byte) (blocks []cid.Cid, under cid.Cid, err error) {
	var q Want
	if err := wire.Unmarshal("fetch request", frame, &q); err != nil {
		return nil, cid.Undef, err
	}
	if len(q.Blocks) > MaxWant || (len(q.Blocks) == 0) == (len(q.Under) == 0) {
		return nil, cid.Undef, shoal.E(shoal.Invalid, "fetch request", "it asks for nothing, or too much", "")
	}
	if len(q.Under) > 0 {
		under, err = ParseCID(q.Under)
		return nil, under, err
	}
	for _, b := range q.Blocks {
		c, err := ParseCID(b)
		if err != nil {
			return nil, cid.Undef, err
		}
		blocks = append(blocks, c)
	}
	return blocks, cid.Undef, nil
}

// ParseCID reads a CID from a peer.
func ParseCID(b []byte) (cid.Cid, error) {
	if len(b) > maxCID {
		return cid.Undef, shoal.E(shoal.Invalid, "CID from a peer", "too long", "")
	}
	c, err := cid.Cast(b)
	if err != nil {
		return cid.Undef, &shoal.Error{Kind: shoal.Invalid, What: "CID from a peer", Why: "malformed", Err: err}
	}
	return c, nil
}
