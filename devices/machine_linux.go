package devices

import (
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memory returns the bytes of memory that this process may use.
func memory() (uint64, error) {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return 0, err
	}
	total := uint64(s.Totalram) * uint64(s.Unit)
	if limit := groupLimit(os.DirFS("/")); limit > 0 {
		total = min(total, limit)
	}
	return total, nil
}

// groupLimit returns the least memory limit of the control group of this process and of the groups
// that hold it, 0 for none. Version 2 of control groups first, then version 1.
func groupLimit(root fs.FS) (limit uint64) {
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		switch {
		case part[0] == "0" && part[1] == "":
		case part[1] == "memory":
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := strings.Trim(part[2], "/"); ; {
			name := strings.TrimSuffix(base+"/"+dir, "/") + "/" + file
			if fs.ValidPath(name) {
				b, _ := fs.ReadFile(root, name)
				n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
				if err == nil && n > 0 && (limit == 0 || n < limit) {
					limit = n
				}
			}
			if dir == "" {
				break
			}
			dir = dir[:max(0, strings.LastIndexByte(dir, '/'))]
		}
	}
	return limit
}

func diskSize(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s.Blocks * uint64(s.Bsize), nil
}

func chip() (model string, cores int) { return linuxChip(os.DirFS("/")) }
