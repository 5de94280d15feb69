package agents

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestBatches files more questions than go at once: none is lost or asked twice, no flight is larger than it may be, no
// more fly than may, and one that fails fails for all that it has, and for nobody else.
func TestBatches(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const most, flights, all = 8, 2, 100
		bad := errors.New("bad")
		var mu sync.Mutex
		flying, asked, failed, calls := 0, map[int]int{}, map[int]bool{}, 0
		b := &batcher[int, int]{most: most, flights: flights, run: func(f func()) { go f() }, ask: func(qs []int) ([]int, error) {
			mu.Lock()
			flying++
			calls++
			fails := calls%5 == 0
			if len(qs) > most || flying > flights {
				t.Errorf("%d questions in one of %d flights", len(qs), flying)
			}
			as := make([]int, len(qs))
			for i, q := range qs {
				asked[q]++
				failed[q] = fails
				as[i] = 2 * q
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			flying--
			mu.Unlock()
			if fails {
				return nil, bad
			}
			return as, nil
		}}
		tickets := make([]*ticket[int, int], all)
		for q := range all {
			tickets[q] = b.file(q)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := tickets[all-1].wait(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("whoever does not wait: %v", err)
		}
		for q, ticket := range tickets {
			a, err := ticket.wait(t.Context())
			mu.Lock()
			if asked[q] != 1 || failed[q] != errors.Is(err, bad) || err == nil && a != 2*q {
				t.Errorf("question %d was asked %d times: %d, %v", q, asked[q], a, err)
			}
			mu.Unlock()
		}
		synctest.Wait()
		if calls > all/3 || len(asked) != all || b.flying != 0 || b.queue != nil {
			t.Errorf("%d calls for %d questions; in the end %d fly", calls, len(asked), b.flying)
		}
	})
}
