package expr

import (
	"cmp"
	"testing"

	"pgregory.net/rapid"
)

func TestVersionOf(t *testing.T) {
	ordered := []string{"0.0.1", "0.1", "0.1.9", "0.2", "1", "99.1", "470.256.02", "535.54.03", "550.54.9", "550.54.15", "550.100", "v551"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := cmp.Compare(versionOf(a), versionOf(b)); got != cmp.Compare(i, j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	for _, s := range []string{"", "unknown", ".5", "-3", "v"} {
		if n := versionOf(s); n != 0 {
			t.Errorf("%q is %d", s, n)
		}
	}
	for s, same := range map[string]string{"6.8.0-45-generic": "6.8", "1.2.3.4": "1.2.3", "1.2rc1": "1.2", "99999999999999999999999": "1048575"} {
		if versionOf(s) != versionOf(same) {
			t.Errorf("%s is not %s", s, same)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if s := rapid.String().Draw(t, "s"); versionOf(s) < 0 {
			t.Fatalf("%q is negative", s)
		}
	})
}
