package scenario

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kindOf says what stands there, for errors.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	}
	return "'" + shorten(n.Value) + "'"
}

// a says what a value of a type is.
func a(t reflect.Type) string {
	switch t {
	case spanType:
		return "a duration"
	case sizeType:
		return "a size"
	case rateType:
		return "a rate"
	case policyType:
		return "a policy"
	case expectType:
		return "an expectation"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

func example(t reflect.Type) string {
	switch t {
	case spanType:
		return "one like 20ms, 1.5h or 2d"
	case sizeType:
		return "one like 64MiB, 1.5GB or 100"
	case rateType:
		return "one like 100Mbit, 1Gbit or 10MB, a second"
	case policyType:
		return "fluid, ship-data or ship-code"
	case expectType:
		return "one like 'locality >= 0.95' or 'locality of ship-code > 0.5'"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Uint64:
		return "one like 3"
	case reflect.Float64:
		return "one like 0.5"
	}
	return "a word"
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if r := []rune(s); len(r) > 40 {
		return string(r[:37]) + "..."
	}
	return s
}

// nearest advises the known word that is most like one that is not known, or lists them all.
func nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(shorten(word), k); d < least || d == least && strings.HasPrefix(k, word) {
			best, least = k, d
		}
	}
	if best != "" && least < len(best) {
		return "did you mean " + best + "?"
	}
	return "there are " + strings.Join(known, ", ")
}

// distance is how many letters to add, leave out or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
