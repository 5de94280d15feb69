package scheduler

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/job"
)

// TestLogsAtTheEnd reads a log again and again while it ends: no reader misses its last line, which is
// written to the file only then.
func TestLogsAtTheEnd(t *testing.T) {
	l, err := openLogs(t.TempDir(), Config{LogBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		id := job.NewID([10]byte{byte(i)}, "p")
		log := l.begin(id)
		for range 12 {
			log.write(logOut, bytes.Repeat([]byte("x"), 8<<10))
		}
		log.write(logOut, []byte("end\n"))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			log.end()
		}()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			default:
			}
			var out bytes.Buffer
			err := l.read(t.Context(), id, false, func(f []byte) error { out.Write(f[1:]); return nil })
			if err != nil || !strings.HasSuffix(out.String(), "end\n") {
				t.Fatalf("%d bytes, %v", out.Len(), err)
			}
		}
	}
}

// TestALogMakesWayWhileItBegins has a task begin anew where its last attempt prints its first line.
func TestALogMakesWayWhileItBegins(t *testing.T) {
	l, err := openLogs(t.TempDir(), Config{LogBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	id := job.NewID([10]byte{}, "p")
	var wait sync.WaitGroup
	for range 500 {
		log := l.begin(id)
		wait.Go(func() { log.write(logOut, []byte("first\n")) })
	}
	done := make(chan struct{})
	go func() { defer close(done); wait.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a log waits for another that waits for it")
	}
}
