package capability

import (
	"crypto/ed25519"
	"crypto/sha256"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// rootPrefix begins the text of a root key: then a sum of 8 bytes and the seed follow, as in an invite.
const rootPrefix = "shoalkey1"

// RootKeyText writes a fabric's root key as one word. It is the fabric's greatest secret, in the clear.
func RootKeyText(root ed25519.PrivateKey) string {
	return rootPrefix + encodeGroups(append(rootSum(root.Seed()), root.Seed()...))
}

// ParseRootKey reads what RootKeyText wrote, with space around it. Errors are Invalid, and hold nothing of
// the text.
func ParseRootKey(s string) (ed25519.PrivateKey, error) {
	bad := func(why string) error {
		return shoal.E(shoal.Invalid, "root key", why, "give the whole file that 'shoal key export' wrote")
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(s), rootPrefix)
	if !ok {
		return nil, bad("it does not begin with '" + rootPrefix + "'")
	}
	const length = sumBytes + ed25519.SeedSize
	if len(text) != charsFor(length) {
		return nil, bad("it is cut off, or too long")
	}
	b, ok := decodeGroups(text, length)
	if !ok || string(rootSum(b[sumBytes:])) != string(b[:sumBytes]) {
		return nil, bad("a typo in it: the checksum does not fit")
	}
	return ed25519.NewKeyFromSeed(b[sumBytes:]), nil
}

func rootSum(seed []byte) []byte {
	sum := sha256.Sum256(append([]byte("shoal/root key\x00"), seed...))
	return sum[:sumBytes]
}
