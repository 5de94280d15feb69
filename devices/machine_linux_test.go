package devices

import (
	"testing"
	"testing/fstest"
)

func TestGroupLimit(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want uint64
	}{
		{"none", fstest.MapFS{}, 0},
		{"no limit", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n")}, 0},
		{"a parent's", fstest.MapFS{
			"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("2000\n"),
			"sys/fs/cgroup/a/memory.max": file("1000\n"),
		}, 1000},
		{"in a container", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("77\n")}, 77},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("5:cpu:/x\n4:memory:/x\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":    file("500\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":      file("9223372036854771712\n"),
			"sys/fs/cgroup/memory/x/../memory.limit_in_bytes": file("1\n"),
		}, 500},
		{"outside", fstest.MapFS{"proc/self/cgroup": file("0::/../../x\nbroken\n")}, 0},
	} {
		if got := groupLimit(c.fs); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
