package storage

import (
	"encoding/base32"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// shards is the number of folders: few, since each folder touched by a Put is synced.
const shards = 64

const maxName = 200 // bytes; file systems allow 255

// fileName is the block's name on disk: for a CIDv1 its usual text, for a CIDv0 likewise in base 32,
// since base 58 needs a file system that tells upper from lower case.
func fileName(c cid.Cid) string {
	return "b" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(c.Bytes()))
}

// parseName is the inverse of fileName.
func parseName(name string) (cid.Cid, bool) {
	text, ok := strings.CutPrefix(name, "b")
	if !ok {
		return cid.Undef, false
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(text))
	if err != nil {
		return cid.Undef, false
	}
	c, err := cid.Cast(b)
	if err != nil || fileName(c) != name {
		return cid.Undef, false
	}
	return c, true
}

// shardOf spreads blocks by the end of their hash.
func shardOf(c cid.Cid) int {
	h := c.Hash()
	return int(h[len(h)-1]) % shards
}

// verify holds data against c.
func verify(c cid.Cid, data []byte) error {
	if !c.Defined() {
		return shoal.E(shoal.Invalid, "block", "no CID", "")
	}
	got, err := c.Prefix().Sum(data)
	switch {
	case err != nil:
		return &shoal.Error{Kind: shoal.Invalid, What: "block " + c.String(), Why: "unknown hash function", Err: err}
	case !got.Equals(c):
		return shoal.E(shoal.Corrupt, "block "+c.String(), "the bytes do not match the CID", "")
	}
	return nameable(c)
}

// nameable refuses a CID that cannot be a file's name.
func nameable(c cid.Cid) error {
	switch {
	case !c.Defined():
		return shoal.E(shoal.Invalid, "block", "no CID", "")
	case len(fileName(c)) > maxName:
		return shoal.E(shoal.Invalid, "block "+c.String(), "the CID is too long", "")
	}
	return nil
}
