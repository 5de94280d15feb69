package yield

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMessagesPass has a busy goroutine for each processor, and one more, give way while others talk over a
// socket: as many words pass as turns are given, give or take, and not one in 10 ms. It counts turns and not
// time, so that a busy machine changes nothing.
func TestMessagesPass(t *testing.T) {
	here, there := pair(t)
	go func() { // says back what it hears
		var b [1]byte
		for {
			if _, err := there.Read(b[:]); err != nil {
				return
			}
			if _, err := there.Write(b[:]); err != nil {
				return
			}
		}
	}()
	var turns atomic.Int64
	var stop atomic.Bool
	var busy sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 {
		busy.Go(func() {
			var p Point
			defer p.Close()
			for !stop.Load() {
				for end := time.Now().Add(200 * time.Microsecond); time.Now().Before(end); {
				}
				p.Yield()
				turns.Add(1)
			}
		})
	}
	const words = 200
	var b [1]byte
	before := turns.Load()
	for range words {
		if _, err := here.Write(b[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}
	took := turns.Load() - before
	stop.Store(true)
	busy.Wait()
	t.Logf("%d words there and back in %d turns", words, took)
	// By runtime.Gosched it is some 50 turns of each processor for each step of a word.
	if each := float64(took) / words / float64(runtime.GOMAXPROCS(0)); each > 20 {
		t.Errorf("a word takes %.1f turns of each processor", each)
	}
}

func pair(t *testing.T) (a, b net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func TestClosedPointsStillYield(t *testing.T) {
	var p Point
	p.Yield()
	p.Close()
	p.Close()
	p.Yield()
}
