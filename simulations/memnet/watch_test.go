package memnet

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// kept is what was written, by whomever.
type kept struct {
	mu   sync.Mutex
	text strings.Builder
}

func (k *kept) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(b)
}

func (k *kept) tell(since time.Duration, who string) {
	fmt.Fprintf(k, "for %v\n%s", since, who)
}

func (k *kept) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.String()
}

// sleeper waits as it should, in the bubble.
func sleeper() { time.Sleep(time.Hour) }

// waitForTheMachine is the mistake that a watch is for: it takes a lock that nobody in the bubble lets go.
func waitForTheMachine(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

// A watch names who keeps time from moving, and only then.
func TestWatch(t *testing.T) {
	out := &kept{}
	w := NewWatch(WatchConfig{Patience: 50 * time.Millisecond, Stuck: out.tell})
	defer w.Stop()
	bubble.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		time.Sleep(1000 * time.Hour / 60)
	})
	if w.Fired() != 0 {
		t.Fatalf("time moved: %s", out)
	}
	var mu sync.Mutex
	mu.Lock()
	go func() { // the machine's time
		for w.Fired() == 0 {
			time.Sleep(time.Millisecond)
		}
		mu.Unlock()
	}()
	bubble.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		for range 3 {
			go sleeper()
		}
		waitForTheMachine(&mu)
		time.Sleep(time.Hour)
	})
	said := out.String()
	first, rest, _ := strings.Cut(said[strings.Index(said, "\n")+1:], "\n\n")
	if !strings.Contains(first, "time waits for it") || !strings.Contains(first, "Mutex") {
		t.Errorf("the first that is named: %s", first)
	}
	if !strings.Contains(said, "3 goroutines [sleep (durable)") || strings.Count(said, "memnet.sleeper") != 1 {
		t.Errorf("equal stacks are not told once: %s", said)
	}
	if !strings.Contains(first+rest, "memnet.waitForTheMachine") || !strings.Contains(first+rest, "memnet.sleeper") {
		t.Errorf("not named: %s", said)
	}
}

// spin is the other mistake: it computes until something outside of the bubble happens.
func spin(over *atomic.Bool) {
	for !over.Load() {
		runtime.Gosched()
	}
}

// holdOverWait is the third: it waits with a sync.Mutex held that another wants. In the bubble that is no wait of the other.
func holdOverWait(mu *sync.Mutex, over chan struct{}) {
	mu.Lock()
	defer mu.Unlock()
	<-over
}

// A watch that knows how much the process works gives one that works more time, and names who spins all the same.
func TestWatchOfWork(t *testing.T) {
	out, over := &kept{}, &atomic.Bool{}
	var used atomic.Int64
	w := NewWatch(WatchConfig{
		Patience: 30 * time.Millisecond, Most: 200 * time.Millisecond, Stuck: out.tell,
		Work: func() time.Duration { return time.Duration(used.Add(int64(leastWork))) },
	})
	defer w.Stop()
	go func() {
		for w.Fired() == 0 {
			time.Sleep(time.Millisecond)
		}
		over.Store(true)
	}()
	begun := time.Now()
	bubble.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		go spin(over)
		time.Sleep(time.Hour)
	})
	if time.Since(begun) < 200*time.Millisecond || !strings.Contains(out.String(), "memnet.spin") {
		t.Errorf("after %v: %s", time.Since(begun), out)
	}
}

// A lock that is held over a wait is named, with who waits for it, though nothing is outside of the bubble.
func TestWatchOfLocks(t *testing.T) {
	out := &kept{}
	w := NewWatch(WatchConfig{Patience: 50 * time.Millisecond, Stuck: out.tell})
	defer w.Stop()
	rescue := make(chan struct{}) // not of the bubble
	go func() {
		for w.Fired() == 0 {
			time.Sleep(time.Millisecond)
		}
		close(rescue)
	}()
	bubble.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		var mu sync.Mutex
		go holdOverWait(&mu, rescue)
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
	})
	said := out.String()
	if !strings.Contains(said, "memnet.holdOverWait") || !strings.Contains(said, "time waits for it") {
		t.Errorf("not named: %s", said)
	}
}
