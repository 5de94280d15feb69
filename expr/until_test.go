package expr

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

func TestUntil(t *testing.T) {
	for src, want := range map[string]struct {
		value int64
		items []string
		hold  bool
	}{
		"value >= 10":                           {10, nil, true},
		"value > 10":                            {10, nil, false},
		"10 <= value":                           {9, nil, false},
		"value >= 2 * 5 && value > 3":           {10, nil, true},
		`size >= 2 || "x" in items`:             {0, []string{"x"}, true},
		`(size >= 2 && "x" in items) || 9<size`: {0, []string{"x"}, false},
	} {
		u, err := CompileUntil(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := u.Hold(want.value, want.items); got != want.hold || err != nil {
			t.Errorf("%s: %v %v", src, got, err)
		}
		if u.Number() == u.Set() {
			t.Errorf("%s: of a number %v, of a set %v", src, u.Number(), u.Set())
		}
	}
	for src, want := range map[string]string{
		"value == 10":              "column 7: it may hold, and cease to",
		"value <= 10":              "it may hold, and cease to",
		"value >= 3 && value < 9":  "column 21",
		"!(value >= 3)":            "cease to",
		"value >= size":            "cease to",
		"value - 3 >= 0":           "cease to",
		"value":                    "not true or false",
		"true":                     "nothing that comes to hold",
		"items == ['x']":           "cease to",
		"'x' in ['x']":             "only a text in items",
		"hits >= 3":                "column 1: undeclared reference to 'hits'",
		"value >= 'x'":             "column 7",
		"value >=":                 "column",
		"items.exists(i, i > 'a')": "column",
		"size >= 1 ? true : false": "cease to",
		"":                         "column",
	} {
		if _, err := CompileUntil(src); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", src, err, want)
		}
	}
}

// TestUntilHoldsForEver: of whatever compiles: once it holds, it holds of everything greater.
func TestUntilHoldsForEver(t *testing.T) {
	leaf := rapid.SampledFrom([]string{"value >= 3", "value > 7", "5 < value", "size >= 2", "'a' in items", "'b' in items", "value < 3", "size == 1", "!('a' in items)"})
	rapid.Check(t, func(t *rapid.T) {
		src := leaf.Draw(t, "first")
		for range rapid.IntRange(0, 3).Draw(t, "more") {
			src = "(" + src + ")" + rapid.SampledFrom([]string{" && ", " || ", " == "}).Draw(t, "and") + leaf.Draw(t, "next")
		}
		u, err := CompileUntil(src)
		if err != nil {
			return
		}
		held := false
		var value int64
		var items []string
		for _, item := range rapid.Permutation([]string{"a", "b", "c"}).Draw(t, "items") {
			value += rapid.Int64Range(0, 4).Draw(t, "by")
			items = append(items, item)
			now, err := u.Hold(value, items)
			if err != nil || held && !now {
				t.Fatalf("%s: held, and does not of %d %v (%v)", src, value, items, err)
			}
			held = now
		}
	})
}
