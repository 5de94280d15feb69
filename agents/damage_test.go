package agents

import (
	"context"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestDamaged spoils what one keeper has of an agent: the node goes on with its others, says what is damaged, and
// another takes its place for this one; later it may be a keeper again.
func TestDamaged(t *testing.T) {
	for _, part := range []byte{partMark, partHard, partLog} {
		inBubble(t, 4, func(t *testing.T, w *world) {
			ctx := context.Background()
			time.Sleep(time.Minute)
			c := w.nodes[0].create("counter", 3)
			w.nodes[0].create("other", 3)
			w.nodes[0].wantCall("1", "counter", "add", "")
			w.nodes[0].wantCall("1", "other", "add", "")
			time.Sleep(time.Second)
			k, _, _, err := parseAgent(c.Key)
			must(t, err)
			var sick *peer
			for _, n := range w.nodes[1:] {
				if contains(c.Keepers, n.id) {
					sick = n
				}
			}
			sick.kill()
			at := groupKey(k, part)
			if part == partLog {
				at = logKey(k, 2)
			}
			must(t, sick.table.Commit(true, shoal.Write{Key: at, Value: []byte{0xff}}))
			sick.restart()
			w.nodes[0].wantCall("2", "counter", "add", "")
			for range 100 {
				time.Sleep(3 * time.Second)
				w.nodes[0].wantCall("2", "counter", "get", "")
				s, err := w.nodes[0].Show(ctx, "counter")
				must(t, err)
				if len(s.Keepers) == 3 && !contains(s.Keepers, sick.id) {
					break
				}
			}
			s, err := w.nodes[0].Show(ctx, "counter")
			must(t, err)
			if len(s.Keepers) != 3 || contains(s.Keepers, sick.id) {
				t.Fatalf("part %c: %+v", part, s)
			}
			sick.wantCall("2", "other", "add", "")
			must(t, w.nodes[0].Move(ctx, "counter", sick.id))
			sick.wantCall("3", "counter", "add", "")
		})
	}
}
