package world

import (
	"os"
	"strings"
)

func uptime() string {
	b, _ := os.ReadFile("/proc/uptime")
	s, _, _ := strings.Cut(string(b), " ")
	return s
}

func resident() string {
	b, _ := os.ReadFile("/proc/self/status")
	for l := range strings.Lines(string(b)) {
		if strings.HasPrefix(l, "VmRSS") {
			return strings.TrimSpace(l)
		}
	}
	return ""
}
