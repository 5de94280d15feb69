package shoal

import (
	"github.com/ipfs/go-cid"
)

// sha2256 is the multihash code of SHA2-256.
const sha2256 = 0x12

// Key is a point in the DHT's key space: a binary multihash. Keys compare with ==.
type Key string

// DataKey is the key under which the holders of a dataset, partition or module announce it.
func DataKey(c cid.Cid) Key { return Key(c.Hash()) }

// NameKey is the key of something named rather than hashed: kind is "gpu", "label", "task", ...
// Two kinds never collide.
func NameKey(kind, name string) Key {
	p := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: sha2256, MhLength: 32}
	c, err := p.Sum([]byte("shoal\x00" + kind + "\x00" + name))
	if err != nil {
		panic("sha2-256 is always there: " + err.Error())
	}
	return Key(c.Hash())
}

// BlockCID returns the CIDv1 of a raw block, SHA2-256.
func BlockCID(b []byte) cid.Cid {
	c, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: sha2256, MhLength: 32}.Sum(b)
	if err != nil {
		panic("sha2-256 is always there: " + err.Error())
	}
	return c
}

// ParseCID reads a CID as a user types it.
func ParseCID(s string) (cid.Cid, error) {
	c, err := cid.Decode(s)
	if err != nil {
		return cid.Undef, E(Invalid, "CID "+quote(s), "not a content identifier",
			"copy it whole, as 'shoal put' printed it")
	}
	return c, nil
}

// quote shortens and quotes what a user typed, for errors.
func quote(s string) string {
	if len(s) > 72 {
		s = s[:69] + "..."
	}
	return "'" + s + "'"
}
