package pubsub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// What is in one lane is done in its order, one run at a time; lanes go side by side, up to a limit.
func TestLaneOrder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		type thing struct {
			lane string
			n    int
		}
		var work sync.WaitGroup
		var mu sync.Mutex
		last, busy, running, most, longest := map[string]int{}, map[string]bool{}, 0, 0, 0
		l := newLanes(t.Context(), 4, 8, &work, func(list []thing) {
			lane := list[0].lane
			mu.Lock()
			running++
			most, longest = max(most, running), max(longest, len(list))
			if lane != "" && busy[lane] || lane == "" && len(list) > 1 {
				t.Errorf("lane %q is done twice at once, or what has no lane together: %v", lane, list)
			}
			busy[lane] = true
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			running--
			busy[lane] = false
			for _, x := range list {
				if x.lane != lane || lane != "" && x.n != last[lane]+1 {
					t.Errorf("%v after %d of %q", x, last[lane], lane)
				}
				last[lane] = x.n
			}
		})
		put := map[string]int{}
		for i := range 2000 {
			lane := []string{"a", "b", "c", "d", "e", "f", ""}[rand.IntN(7)]
			put[lane]++
			l.put(lane, thing{lane, put[lane]})
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		work.Wait()
		for lane, n := range put {
			if lane != "" && last[lane] != n {
				t.Errorf("lane %s: %d of %d", lane, last[lane], n)
			}
		}
		if most != 4 || longest != 8 || len(l.busy)+len(l.ready)+l.running > 0 {
			t.Errorf("%d lanes at once, %d things together; left over: %v %v %d", most, longest, l.busy, l.ready, l.running)
		}
	})
}

func TestLanesEnd(t *testing.T) {
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	var done int
	l := newLanes(ctx, 1, 1, &work, func([]int) { done++; cancel() })
	for i := range 10 {
		l.put("a", i)
	}
	work.Wait()
	if done != 1 {
		t.Errorf("%d things were done after the end", done)
	}
}

// Messages that come together go together, each publisher's in their order, within the bounds, and everybody hears of its own.
func TestGather(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var work sync.WaitGroup
		var mu sync.Mutex
		var log []string
		flights := 0
		refuse := errors.New("no")
		g := &gather{life: t.Context(), work: &work, append: func(_ context.Context, list []topic.Message) (uint64, error) {
			size := 0
			for i := range list {
				size += list[i].Size()
			}
			if len(list) > mostTogether || size > bytesTogether && len(list) > 1 {
				t.Errorf("%d messages of %d bytes together", len(list), size)
			}
			time.Sleep(2 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if flights++; flights == 3 {
				return 0, refuse
			}
			first := uint64(len(log) + 1)
			for _, m := range list {
				log = append(log, m.Key)
			}
			return first, nil
		}}
		var all sync.WaitGroup
		for p := range 40 {
			all.Go(func() {
				for n := range 20 {
					list := []topic.Message{{Key: fmt.Sprintf("%d.%d.0", p, n), Body: make([]byte, 20<<10)}, {Key: fmt.Sprintf("%d.%d.1", p, n)}}
					err := g.put(t.Context(), list)
					if err != nil && err != refuse {
						t.Error(err)
					}
					mu.Lock()
					for i, m := range list {
						if err == nil && log[m.Offset-1] != m.Key || err == nil && i > 0 && m.Offset != list[0].Offset+1 {
							t.Errorf("%s got offset %d", m.Key, m.Offset)
						}
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		work.Wait()
		if flights > 40 { // 40 publishers with 20 KiB each: about 47 go together, so 20 rounds take about as many flights
			t.Errorf("%d flights for %d messages", flights, len(log))
		}
		late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := g.put(late, []topic.Message{{}}); shoal.KindOf(err) != shoal.Timeout {
			t.Errorf("a publisher that does not wait: %v", err)
		}
		work.Wait()
	})
}
