package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
)

// hammer has callers add to counters, one caller for each, until it is told to stop, and notes when each turn was
// acknowledged. A call that fails is repeated under its request's name, as a caller does that wants to know.
type hammer struct {
	stop atomic.Bool
	work sync.WaitGroup
	all  []acks
	last []atomic.Int64 // when each was acknowledged last
}

// acks are the acknowledged turns of one counter.
type acks struct {
	At    []int64 // Unix nanoseconds
	Wrong string  // what was not as it must be: a turn lost or doubled
	Tries int     // calls that failed
}

// blows is an order to begin. Background agents are called too, one after the other, by a few callers.
type blows struct {
	Agents, Background []string
}

func (w *worker) beginHammer(_ context.Context, b blows) (any, error) {
	h := &hammer{all: make([]acks, len(b.Agents)), last: make([]atomic.Int64, len(b.Agents))}
	w.hammer = h
	for i, agent := range b.Agents {
		h.work.Go(func() { h.all[i] = w.pound(h, &h.last[i], agent) })
	}
	const few = 4
	for k := range few {
		h.work.Go(func() {
			for i := k; len(b.Background) > 0 && !h.stop.Load(); i += few {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, _ = w.CallAgent(ctx, b.Background[i%len(b.Background)], shoal.CallRequest{Method: "get", Read: true}) // to keep it awake
				cancel()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return nil, nil
}

// endHammer stops the callers and returns what they saw.
func (w *worker) endHammer(context.Context, *int) ([]acks, error) {
	h := w.hammer
	h.stop.Store(true)
	h.work.Wait()
	return h.all, nil
}

// pound adds to a counter again and again.
func (w *worker) pound(h *hammer, at *atomic.Int64, agent string) (out acks) {
	last := w.counter(agent)
	for n := 0; !h.stop.Load(); n++ {
		id := fmt.Sprintf("%s-%d-%d", w.ID().Short(), time.Now().UnixNano(), n)
		var reply []byte
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			var err error
			reply, err = w.CallAgent(ctx, agent, shoal.CallRequest{Method: "add", Request: id})
			cancel()
			if err == nil {
				break
			}
			if out.Tries++; out.Tries > 100 {
				out.Wrong = "it fails: " + err.Error()
				return out
			}
		}
		at.Store(time.Now().UnixNano())
		out.At = append(out.At, at.Load())
		if got, err := strconv.ParseInt(string(reply), 10, 64); err != nil || got != last.Add(1) {
			out.Wrong = fmt.Sprintf("turn %d replied %q", last.Load(), reply)
			return out
		}
		time.Sleep(2 * time.Millisecond)
	}
	return out
}

// acked waits until each counter has had a turn acknowledged since a moment. It gives up after a while.
func (w *worker) acked(ctx context.Context, at int64) (any, error) {
	for end := time.Now().Add(most); time.Now().Before(end); {
		all := true
		for i := range w.hammer.last {
			all = all && w.hammer.last[i].Load() > at+int64(onItsWay)
		}
		if all {
			return nil, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// onItsWay is for how long after a blow an answer may come that was sent before.
const onItsWay = 5 * time.Millisecond

// outage returns how long after a moment the next turn was acknowledged, and whether one was.
func (a acks) outage(at int64) (time.Duration, bool) {
	i, _ := slices.BinarySearch(a.At, at+int64(onItsWay))
	if i == len(a.At) {
		return 0, false
	}
	return time.Duration(a.At[i] - at), true
}
