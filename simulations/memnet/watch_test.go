package memnet

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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
	w := NewWatch(50*time.Millisecond, out)
	defer w.Stop()
	synctest.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		time.Sleep(1000 * time.Hour / 60)
	})
	if w.Stuck() != 0 {
		t.Fatalf("time moved: %s", out)
	}
	var mu sync.Mutex
	mu.Lock()
	go func() { // the machine's time
		for w.Stuck() == 0 {
			time.Sleep(time.Millisecond)
		}
		mu.Unlock()
	}()
	synctest.Test(t, func(t *testing.T) {
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
