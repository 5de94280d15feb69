package node

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"testing"
)

// TestHeadroom: the collector's next run is put off, and the machine gives no memory for it. As in
// 'shoal up' that holds in a process that has just begun: memory that was used before is cleared anew.
func TestHeadroom(t *testing.T) {
	const begun = "SHOAL_TEST_HEADROOM"
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	if os.Getenv(begun) == "" {
		t.Setenv(begun, "1")
		out, err := exec.Command(os.Args[0], "-test.run=^TestHeadroom$", "-test.count=1").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	goal := func() int64 {
		runtime.GC()
		s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
		metrics.Read(s)
		return int64(s[0].Value.Uint64())
	}
	pages := func() (n int64) { // resident; 0 where the system does not say
		b, _ := os.ReadFile("/proc/self/statm")
		fmt.Sscan(string(b), new(int64), &n)
		return n
	}
	before, resident := goal(), pages()
	release := Headroom()
	with := goal()
	grown := (pages() - resident) * int64(os.Getpagesize())
	release()
	if with < before+3*headroom/2 {
		t.Errorf("the goal went from %d to %d, want %d more", before, with, 2*headroom)
	}
	if grown > headroom/2 {
		t.Errorf("resident memory has grown by %d", grown)
	}
	if after := goal(); after > with-headroom {
		t.Errorf("released, the goal is still %d of %d", after, with)
	}
	t.Setenv("GOGC", "50")
	defer Headroom()()
	if set := goal(); set > with-headroom {
		t.Errorf("with GOGC set the goal is %d", set)
	}
}
