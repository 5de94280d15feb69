package world

import (
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestMissed: what a listener that is up never heard is told whole, however much it is.
func TestMissed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b, born := newBook(true), time.Now()
		b.listener(6)
		b.hears(6, true)
		for i := range 60 {
			body := b.body(8)
			b.sent(body, nil)
			if i < 10 {
				b.heard(6, body, uint64(i+1))
			}
		}
		due, done := b.count(func(int) time.Time { return born })
		if due != 60 || done != 10 {
			t.Errorf("%d of %d", done, due)
		}
		if got := strings.Join(b.broken, "; "); got != "50 messages were taken and never reached node 6, which is up: the first is 11, the last 60, of 60" {
			t.Errorf("it says %q", got)
		}
	})
}
