package devices

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestDescribe(t *testing.T) {
	begin := time.Now()
	a, _, err := Describe(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", a, time.Since(begin))
	if a.OS != runtime.GOOS || a.Arch != runtime.GOARCH || a.CPUs < 1 || a.CPUs > runtime.NumCPU() {
		t.Errorf("got %+v", a)
	}
	if a.Memory < 64<<20 || a.Disk < 1<<20 || a.HashMBs < 1 {
		t.Errorf("not plausible: %+v", a)
	}
	if c := a.CPU; runtime.GOOS == "linux" && (c.Cores < 1 || c.Cores > a.CPUs || c.Model == "" || len(c.Features) == 0 || !slices.IsSorted(c.Features)) {
		t.Errorf("processor: %+v", c)
	}
}

func TestDescribeDeclared(t *testing.T) {
	a, _, err := Describe(t.Context(), t.TempDir(), []shoal.GPU{{Vendor: "tpu", Model: "Coral"}})
	if err != nil || len(a.GPUs) == 0 {
		t.Fatalf("%+v, %v", a.GPUs, err)
	}
	if g := a.GPUs[len(a.GPUs)-1]; g.Vendor != "tpu" || !g.Declared || g.ID == "" {
		t.Errorf("%+v", g)
	}
}

func TestDescribeWithoutDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	a, _, err := Describe(t.Context(), dir, nil)
	if err == nil || !strings.Contains(err.Error(), "gone") || a.Disk != 0 || a.CPUs == 0 {
		t.Fatalf("got %+v, %v", a, err)
	}
}

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestLinuxChip(t *testing.T) {
	siblings := func(list ...string) fstest.MapFS {
		m := fstest.MapFS{"sys/devices/system/cpu/cpufreq/x": file(""), "sys/devices/system/cpu/online": file("0-3")}
		for i, s := range list {
			m[fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i)] = file(s + "\n")
		}
		return m
	}
	with := func(m fstest.MapFS, cpuinfo string) fstest.MapFS { m["proc/cpuinfo"] = file(cpuinfo); return m }
	for _, c := range []struct {
		name, model string
		cores       int
		root        fstest.MapFS
	}{
		{"nothing", "", 0, fstest.MapFS{}},
		{"x86", "AMD EPYC 7B13", 2, with(siblings("0,2", "1,3", "0,2", "1,3"), "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7B13\n\nprocessor: 1\nmodel name: other\n")},
		{"arm", "ARM 0x41 part 0xd0c", 4, with(siblings("0", "1", "2", "3"), "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n")},
		{"raspberry", "Raspberry Pi 4 Model B Rev 1.4", 0, with(fstest.MapFS{}, "CPU implementer\t: 0x41\nCPU part\t: 0xd08\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n")},
	} {
		if model, cores := linuxChip(c.root); model != c.model || cores != c.cores {
			t.Errorf("%s: %q, %d", c.name, model, cores)
		}
	}
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now()
	m, d, err := Measure(t.Context(), dir)
	t.Logf("memory %.1f GB/s, disk %.2f GB/s in %v", m, d, time.Since(begin))
	if err != nil || m < 0.05 || m > 5000 || d <= 0 || d > 1000 {
		t.Errorf("memory %v, disk %v, %v", m, d, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if m, d, err := Measure(t.Context(), filepath.Join(dir, "gone")); err == nil || d != 0 || m == 0 {
		t.Errorf("without a directory: %v, %v, %v", m, d, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Measure(ctx, dir); err == nil {
		t.Error("it went on after it was cancelled")
	}
}
