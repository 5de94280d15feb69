package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Value writes a value of a unit for people: 250 ms, 1.5 MiB, 0.95.
func Value(x float64, unit string) string {
	switch unit {
	case "ms":
		return seconds(x / 1000)
	case "s":
		return seconds(x)
	case "bytes":
		return bytesOf(x)
	case "/s":
		return short(x) + " /s"
	}
	return short(x)
}

// unitOf returns the unit of a figure, or of a series or histogram, by its name.
func unitOf(name string) string {
	for _, f := range Names {
		if f.Name == name {
			return f.Unit
		}
	}
	for suffix, unit := range map[string]string{"_ms": "ms", "_s": "s", "_bytes": "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_p50"), "_p99"), suffix) {
			return unit
		}
	}
	return ""
}

func seconds(s float64) string {
	a := math.Abs(s)
	switch {
	case a == 0:
		return "0"
	case a < 1e-3:
		return digits(s*1e6) + " µs"
	case a < 1:
		return digits(s*1e3) + " ms"
	case a < 120:
		return digits(s) + " s"
	case a < 2*3600:
		return digits(s/60) + " min"
	case a < 48*3600:
		return digits(s/3600) + " h"
	}
	return digits(s/86400) + " d"
}

func bytesOf(b float64) string {
	a := math.Abs(b)
	for i, u := range []string{"PiB", "TiB", "GiB", "MiB", "KiB"} {
		if f := math.Pow(1024, float64(5-i)); a >= f {
			return digits(b/f) + " " + u
		}
	}
	return digits(b) + " B"
}

// short writes large numbers with a letter.
func short(x float64) string {
	a := math.Abs(x)
	switch {
	case a >= 1e9:
		return digits(x/1e9) + " G"
	case a >= 1e6:
		return digits(x/1e6) + " M"
	case a >= 1e4:
		return digits(x/1e3) + " k"
	}
	return digits(x)
}

// digits writes three significant ones, and all before the point.
func digits(x float64) string {
	if a := math.Abs(x); a >= 100 || a == math.Trunc(a) {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	s := strconv.FormatFloat(x, 'g', 3, 64)
	if strings.Contains(s, "e") {
		return s
	}
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// String writes the mean and how far it may be off, in a unit.
func (e Estimate) text(unit string) string {
	if e.N == 0 {
		return "-"
	}
	s := Value(e.Mean, unit)
	if e.Half > 0 {
		s += " ± " + Value(e.Half, unit)
	}
	return s
}

func percent(x float64) string { return fmt.Sprintf("%+.1f %%", 100*x) }

// thousands writes a whole number with its thousands apart.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
