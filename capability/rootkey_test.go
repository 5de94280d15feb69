package capability

import (
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestRootKeyText(t *testing.T) {
	k := key(3)
	text := RootKeyText(k)
	back, err := ParseRootKey(" " + text + "\n")
	if err != nil || !back.Equal(k) {
		t.Fatalf("%v: not the key that was written", err)
	}
	for n := range text { // any one character changed, or the rest missing
		other := byte('x')
		if text[n] == other {
			other = 'y'
		}
		for _, bad := range []string{text[:n] + string(other) + text[n+1:], text[:n]} {
			if _, err := ParseRootKey(bad); shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("%d: %v", n, err)
			} else if n > len(rootPrefix)+8 && strings.Contains(err.Error(), bad[:n]) {
				t.Fatalf("the error shows the key: %v", err)
			}
		}
	}
}

func FuzzParseRootKey(f *testing.F) {
	f.Add(RootKeyText(key(1)))
	f.Add(rootPrefix)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseRootKey(s)
		switch {
		case err != nil && shoal.KindOf(err) != shoal.Invalid:
			t.Fatal(err)
		case err == nil && RootKeyText(k) != strings.TrimSpace(s):
			t.Fatal("two texts for one key")
		}
	})
}
