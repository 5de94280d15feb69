package scenario

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var sizes = map[string]float64{
	"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
}

var bits = map[string]float64{"bit": 1, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9, "Tbit": 1e12}

// split parts a figure from its unit.
func split(s string) (x float64, unit string, err error) {
	s = strings.TrimSpace(s)
	i := strings.LastIndexAny(s, "0123456789.") + 1
	if x, err = strconv.ParseFloat(strings.ReplaceAll(strings.TrimSpace(s[:i]), "_", ""), 64); err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, "", errors.New("it is no figure")
	}
	return x, strings.TrimSpace(s[i:]), nil
}

// ParseSize reads a number of bytes: 64MiB, 1.5GB, 100.
func ParseSize(s string) (Size, error) {
	x, unit, err := split(s)
	if err != nil {
		return 0, err
	}
	f, ok := sizes[unit]
	switch x *= f; {
	case !ok:
		return 0, errors.New("'" + unit + "' is no unit of size")
	case x < 0:
		return 0, errors.New("it is negative")
	case x >= 1<<62:
		return 0, errors.New("it is too large")
	}
	return Size(math.Round(x)), nil
}

// ParseRate reads a number of bytes a second; in bits when it says so: 100Mbit, 1Gbit, 10MB. A closing "/s" is left out.
func ParseRate(s string) (Rate, error) {
	x, unit, err := split(s)
	if err != nil {
		return 0, err
	}
	unit = strings.TrimSuffix(unit, "/s")
	f, ok := sizes[unit]
	if b, bit := bits[unit]; bit {
		f, ok = b/8, true
	}
	switch x *= f; {
	case !ok:
		return 0, errors.New("'" + unit + "' is no unit of a rate")
	case x < 0:
		return 0, errors.New("it is negative")
	case x >= 1<<62:
		return 0, errors.New("it is too large")
	}
	return Rate(x), nil
}

// ParseSpan reads a duration as Go writes it, and days: 20ms, 1h30m, 2d.
func ParseSpan(s string) (Span, error) {
	s = strings.TrimSpace(s)
	rest, negative := strings.CutPrefix(s, "-")
	var days Span
	if at := strings.IndexByte(rest, 'd'); at >= 0 {
		x, err := strconv.ParseFloat(rest[:at], 64)
		if err != nil || math.IsNaN(x) || math.Abs(x) > 36500 {
			return 0, errors.New("it is no duration")
		}
		days, rest = Span(x*24*float64(time.Hour)), rest[at+1:]
	}
	var d Span
	if rest != "" || days == 0 {
		var err error
		if d, err = time.ParseDuration(rest); err != nil || strings.HasPrefix(rest, "-") {
			if x, err := strconv.ParseFloat(rest, 64); err == nil && x != 0 {
				return 0, errors.New("it has no unit")
			}
			return 0, errors.New("it is no duration")
		}
	}
	if d += days; negative {
		d = -d
	}
	return d, nil
}
