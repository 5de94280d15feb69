package capability

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/mr-tron/base58"

	"github.com/shoal-fabric/shoal"
)

// identityPrefix precedes an Ed25519 public key in a libp2p peer ID: the identity multihash (code 0)
// of 36 bytes, which are a protobuf of key type 1 (Ed25519) and 32 bytes of key.
const identityPrefix = "\x00\x24\x08\x01\x12\x20"

// maxIDText bounds what is decoded: an Ed25519 peer ID has 52 characters.
const maxIDText = 64

// PeerIDOf returns the libp2p peer ID of pub in its text form. It panics when pub has the wrong
// length, as package ed25519 does.
func PeerIDOf(pub ed25519.PublicKey) shoal.PeerID {
	if len(pub) != ed25519.PublicKeySize {
		panic("capability: bad public key length")
	}
	return shoal.PeerID(base58.Encode(append([]byte(identityPrefix), pub...)))
}

// PublicKey returns the key that id stands for. Anything but the one text form of an Ed25519
// identity is Invalid.
func PublicKey(id shoal.PeerID) (ed25519.PublicKey, error) {
	bad := func(why string) error {
		shown := string(id)
		if len(shown) > maxIDText {
			shown = shown[:maxIDText-3] + "..."
		}
		return shoal.E(shoal.Invalid, "peer ID '"+strings.ToValidUTF8(shown, "?")+"'", why,
			"copy it whole; it begins with 12D3KooW")
	}
	if len(id) > maxIDText {
		return nil, bad("too long")
	}
	b, err := base58.Decode(string(id))
	if err != nil {
		return nil, bad("not base58")
	}
	key, ok := strings.CutPrefix(string(b), identityPrefix)
	if !ok || len(key) != ed25519.PublicKeySize || base58.Encode(b) != string(id) {
		return nil, bad("not an Ed25519 identity")
	}
	return ed25519.PublicKey(key), nil
}

// FabricID returns the name of the fabric whose root key is root: 26 lower-case letters and digits
// that hold 128 bits of a SHA-256, so that nobody finds another root for the same name.
func FabricID(root shoal.PeerID) string {
	sum := sha256.Sum256([]byte("shoal/fabric\x00" + string(root)))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}
