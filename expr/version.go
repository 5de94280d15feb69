package expr

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// versionFunction declares version("550.54.15"), by which versions are compared: as text "99.1" is above "550".
func versionFunction() cel.EnvOption {
	return cel.Function("version",
		cel.Overload("version_string", []*cel.Type{cel.StringType}, cel.IntType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			return types.Int(versionOf(string(v.(types.String))))
		})))
}

// versionOf makes one number of the first three of a text, each up to 2^20-1, so that later versions have greater ones.
// What does not begin with a number is 0: whoever asks for some version at least does not want it.
func versionOf(s string) (n int64) {
	const width = 20
	s = strings.TrimPrefix(s, "v")
	for i := range 3 {
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		var part int64
		for _, d := range s[:digits] {
			part = min(part*10+int64(d-'0'), 1<<width-1)
		}
		n |= part << (width * (2 - i))
		var more bool
		if s, more = strings.CutPrefix(s[digits:], "."); !more || digits == 0 {
			break
		}
	}
	return n
}
