// Package record judges the signed records that peers put into the DHT about themselves, under
// /shoal-peer/<peer ID>: whether one may stand under its key, and which of several is the latest.
//
// A record is the envelope in which a member gossips what it says of itself, in canonical encoding
// and signed by the peer in the key. Of the payload only the fabric and the version are read; the
// rest is for package members/view. The DHT's nodes keep what Validate lets through: nobody can be
// impersonated, and an old record never displaces a newer one.
package record

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// Namespace is the first component of the keys.
const Namespace = "shoal-peer"

// Domain is what records are signed for; it is members/view's.
const Domain = "member"

// maxSealed bounds a record in bytes: payload, signature and signer.
const maxSealed = wire.MaxRecord + 256

// Version orders the records of a peer: by life, a number that grows each time a node joins anew,
// then by the number within the life.
type Version struct{ Life, Seq uint64 }

// Compare returns -1, 0 or 1, as v is older than, equal to or newer than w.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Life, w.Life), cmp.Compare(v.Seq, w.Seq))
}

// Key returns the key of p's record.
func Key(p shoal.PeerID) string { return "/" + Namespace + "/" + string(p) }

// Validator judges the records of one fabric. It has the methods of libp2p's record.Validator.
type Validator struct{ Fabric string }

// Open checks the record sealed against its key and returns what the peer said and its version.
// Errors have kind Invalid, or Refused when the signature does not fit or the record is another
// fabric's.
func (v Validator) Open(key string, sealed []byte) (payload []byte, version Version, err error) {
	const what = "peer record"
	id, ok := strings.CutPrefix(key, "/"+Namespace+"/")
	if !ok || id == "" {
		return nil, version, shoal.E(shoal.Invalid, what, "its key is not /"+Namespace+"/PEER", "")
	}
	if len(sealed) > maxSealed {
		return nil, version, shoal.E(shoal.Invalid, what, "larger than 16 KiB", "use fewer labels")
	}
	var e capability.Envelope
	if err := wire.Unmarshal(what, sealed, &e); err != nil {
		return nil, version, err
	}
	if string(e.Signer) != id {
		return nil, version, shoal.E(shoal.Invalid, what, "signed by another peer than its key says", "")
	}
	if !bytes.Equal(wire.Marshal(e), sealed) {
		return nil, version, shoal.E(shoal.Invalid, what, "not in the canonical encoding", "")
	}
	if payload, err = e.Open(Domain); err != nil {
		return nil, version, err
	}
	var body struct {
		Fabric string `cbor:"f"`
		Life   uint64 `cbor:"l"`
		Seq    uint64 `cbor:"q"`
	}
	if err := wire.Unmarshal(what, payload, &body); err != nil {
		return nil, version, err
	}
	version = Version{body.Life, body.Seq}
	switch {
	case body.Fabric != v.Fabric:
		return nil, version, shoal.E(shoal.Refused, what, "from another fabric", "")
	case version.Life == 0 || version.Seq == 0:
		return nil, version, shoal.E(shoal.Invalid, what, "no life or sequence number", "")
	}
	return payload, version, nil
}

// Validate reports whether value may stand under key.
func (v Validator) Validate(key string, value []byte) error {
	_, _, err := v.Open(key, value)
	return err
}

// Select returns the index of the latest of values, of equally late ones the one with the greatest
// bytes, so that all nodes choose alike. Values that do not stand under key are passed over; if none
// does, the error is the first one's.
func (v Validator) Select(key string, values [][]byte) (int, error) {
	best, latest := -1, Version{}
	first := error(shoal.E(shoal.NotFound, "peer record", "there is none to choose from", ""))
	for i, val := range values {
		_, version, err := v.Open(key, val)
		switch {
		case err != nil:
			if i == 0 {
				first = err
			}
		case best < 0, version.Compare(latest) > 0,
			version == latest && bytes.Compare(val, values[best]) > 0:
			best, latest = i, version
		}
	}
	if best < 0 {
		return 0, first
	}
	return best, nil
}
