package rig

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Machine is where a run took place.
type Machine struct {
	CPU     string            `json:"cpu"`
	Cores   int               `json:"cores"`
	Memory  string            `json:"memory"`
	Kernel  string            `json:"kernel"`
	Go      string            `json:"go"`
	Files   string            `json:"file_system"` // of the scratch directory
	FsyncMS float64           `json:"fsync_ms"`    // median of a 4 KiB write and its fsync there
	Load    string            `json:"load"`        // averages when the run began
	Commit  string            `json:"commit"`
	Libs    map[string]string `json:"libraries"`
}

// libraries are the peers whose versions belong into the report.
var libraries = [...]string{
	"github.com/libp2p/go-libp2p", "google.golang.org/grpc", "github.com/nats-io/nats-server/v2",
	"github.com/nats-io/nats.go", "github.com/ipfs/boxo", "github.com/tetratelabs/wazero", "go.etcd.io/etcd/server/v3", "github.com/cockroachdb/pebble/v2",
}

// Look describes this machine. work is the scratch directory.
func Look(work string) (Machine, error) {
	m := Machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: field("/proc/meminfo", "MemTotal"),
		Kernel: runtime.GOOS + " " + line("/proc/sys/kernel/osrelease"), Go: runtime.Version(),
		Files: fileSystem(work), Load: line("/proc/loadavg"), Libs: map[string]string{},
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if slices.Contains(libraries[:], d.Path) {
				m.Libs[d.Path] = d.Version
			}
		}
	}
	var err error
	m.FsyncMS, err = fsync(work)
	return m, err
}

// fsync measures what a small durable write costs in dir.
func fsync(dir string) (float64, error) {
	f, err := os.CreateTemp(dir, "fsync")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	b := make([]byte, 4<<10)
	var times []float64
	for range 30 {
		at := time.Now()
		if _, err := f.Write(b); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(at).Seconds()*1e3)
	}
	return Sum(times).Median, nil
}

// line returns the first line of a file, "" if there is none.
func line(path string) string {
	b, _ := os.ReadFile(path)
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

// field returns what follows "name :" in a file of /proc.
func field(path, name string) string {
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// fileSystem names the type of file system that dir is on.
func fileSystem(dir string) string {
	out, err := exec.Command("stat", "-f", "-c", "%T", dir).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// OnDisk refuses a scratch directory in memory: what is measured there says nothing about files.
func OnDisk(work string) error {
	if fs := fileSystem(work); fs == "tmpfs" || fs == "ramfs" {
		return fmt.Errorf("scratch directory %s: it is in memory (%s): name one on a disk with --work", work, fs)
	}
	return nil
}
