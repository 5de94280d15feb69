package agents

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// refusing is a table that takes a second for a batch, and refuses those that bring a certain key.
type refusing struct {
	shoal.Table
	bad     string
	written []string
}

func (r *refusing) Commit(_ bool, batch ...shoal.Write) error {
	time.Sleep(time.Second)
	for _, w := range batch {
		if string(w.Key) == r.bad {
			return errors.New("no space")
		}
	}
	for _, w := range batch {
		r.written = append(r.written, string(w.Key))
	}
	return nil
}

// TestWriterDropsWhatFollowsAFailure has a disk refuse one batch of a group and take the next: the log of a group must
// have no gap. Others' batches are written.
func TestWriterDropsWhatFollowsAFailure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		table := &refusing{bad: "a2"}
		w := newWriter(table, func() int64 { return 1 })
		go w.run(ctx)
		var void atomic.Bool
		put := func(key string, void *atomic.Bool) {
			w.putUnless(void, []shoal.Write{{Key: []byte(key)}}, true, func(err error) {
				if err != nil {
					void.Store(true)
				}
			})
		}
		for _, key := range []string{"a1", "a2", "a3"} {
			put(key, &void)
			put("b"+key[1:], new(atomic.Bool))
			time.Sleep(900 * time.Millisecond) // the next comes while this one is being written
		}
		if err := w.commit(ctx, nil); err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		if got, want := len(table.written), 3; got != want || table.written[0] != "a1" || table.written[2] != "b3" {
			t.Errorf("written: %q", table.written)
		}
	})
}
