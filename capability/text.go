package capability

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
)

// The text of an invite is "shoal1", then a head of three bytes (length of the rest, 16 bits, and a
// check of that length), then a sum of 8 bytes and the body, in base58. Unlike usual base58, which
// treats the whole as one number, each group of up to 8 bytes becomes its own group of characters:
// a text that was cut off still shows its length, so the error can say so. A double click selects
// all of it.
const (
	textPrefix = "shoal1"
	alphabet   = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	headBytes  = 3
	sumBytes   = 8
)

// groupChars[n] is how many characters hold n bytes.
const groupChars = "\x00\x02\x03\x05\x06\x07\x09\x0a\x0b"

// sealText wraps a body. It returns "" for a body that MaxInvite characters cannot hold.
func sealText(body []byte) string {
	sum := sha256.Sum256(body)
	rest := append(sum[:sumBytes:sumBytes], body...)
	s := textPrefix + encodeGroups(head(len(rest))) + encodeGroups(rest)
	if len(s) > MaxInvite {
		return ""
	}
	return s
}

// openText returns the body of what sealText wrapped.
func openText(s string) ([]byte, error) {
	const copyIt = "copy it whole, from 'shoal1' to its end"
	if len(s) > 2*MaxInvite {
		return nil, badInvite(fmt.Sprintf("%d characters are too many", len(s)), copyIt)
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
	text, ok := strings.CutPrefix(s, textPrefix)
	switch {
	case s == "":
		return nil, badInvite("it is empty", "ask a member for one: shoal invite")
	case strings.HasPrefix(textPrefix, s):
		return nil, badInvite("cut off at its start", copyIt)
	case !ok:
		return nil, badInvite("not an invite: it must begin with '"+textPrefix+"'", copyIt)
	case len(s) > MaxInvite:
		return nil, badInvite(fmt.Sprintf("%d characters are too many", len(s)), copyIt)
	}
	for n, r := range text {
		if !strings.ContainsRune(alphabet, r) {
			return nil, badInvite(fmt.Sprintf("a typo: %q at position %d belongs to no invite",
				r, n+len(textPrefix)+1), copyIt)
		}
	}
	first := int(groupChars[headBytes])
	if len(text) < first {
		return nil, badInvite("cut off at its start", copyIt)
	}
	h, ok := decodeGroups(text[:first], headBytes)
	if !ok || string(h) != string(head(int(binary.BigEndian.Uint16(h)))) {
		return nil, badInvite("a typo in its first characters", copyIt)
	}
	length := int(binary.BigEndian.Uint16(h))
	switch want := charsFor(length); {
	case len(text)-first < want:
		return nil, badInvite(fmt.Sprintf("cut off after %d of %d characters",
			len(s), len(textPrefix)+first+want), copyIt)
	case len(text)-first > want:
		return nil, badInvite(fmt.Sprintf("%d characters too long", len(text)-first-want), copyIt)
	}
	rest, ok := decodeGroups(text[first:], length)
	if !ok || len(rest) < sumBytes {
		return nil, badInvite("a typo in it", copyIt)
	}
	if sum := sha256.Sum256(rest[sumBytes:]); string(sum[:sumBytes]) != string(rest[:sumBytes]) {
		return nil, badInvite("a typo in it: the checksum does not fit", copyIt)
	}
	return rest[sumBytes:], nil
}

// head holds a length and a check of it.
func head(length int) []byte {
	h := binary.BigEndian.AppendUint16(nil, uint16(length))
	sum := sha256.Sum256(h)
	return append(h, sum[0])
}

// charsFor returns how many characters length bytes take.
func charsFor(length int) int { return length/8*int(groupChars[8]) + int(groupChars[length%8]) }

func encodeGroups(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		n := min(len(b), 8)
		var v uint64
		for _, x := range b[:n] {
			v = v<<8 | uint64(x)
		}
		var group [11]byte
		k := int(groupChars[n])
		for i := k - 1; i >= 0; i-- {
			group[i] = alphabet[v%58]
			v /= 58
		}
		out.Write(group[:k])
		b = b[n:]
	}
	return out.String()
}

// decodeGroups reads length bytes from s, whose size must fit; false for a group that no bytes encode to.
func decodeGroups(s string, length int) ([]byte, bool) {
	out := make([]byte, 0, length)
	for length > 0 {
		n := min(length, 8)
		var v uint64
		for _, c := range []byte(s[:groupChars[n]]) {
			d := strings.IndexByte(alphabet, c)
			if d < 0 || v > (1<<64-1-uint64(d))/58 {
				return nil, false
			}
			v = v*58 + uint64(d)
		}
		if n < 8 && v>>(8*n) != 0 {
			return nil, false
		}
		for i := n - 1; i >= 0; i-- {
			out = append(out, byte(v>>(8*i)))
		}
		s, length = s[groupChars[n]:], length-n
	}
	return out, true
}
