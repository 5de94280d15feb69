package shoal

import (
	"fmt"
	"strings"
)

// Size writes a number of bytes for people: "1.5 GiB", "12 bytes".
func Size(n uint64) string {
	for _, u := range []struct {
		name string
		unit uint64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.unit {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.unit)), ".0") + " " + u.name
		}
	}
	return fmt.Sprint(n, " bytes")
}
