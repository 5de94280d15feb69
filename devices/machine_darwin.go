package devices

import (
	"os"

	"golang.org/x/sys/unix"
)

func memory() (uint64, error) { return unix.SysctlUint64("hw.memsize") }

func diskSize(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s.Blocks * uint64(s.Bsize), nil
}

func chip() (model string, cores int) {
	model, _ = unix.Sysctl("machdep.cpu.brand_string")
	n, _ := unix.SysctlUint32("hw.physicalcpu")
	return model, int(n)
}
