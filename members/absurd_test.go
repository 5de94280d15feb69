package members

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// What a member signs and cannot be is refused, with its name and once an hour; who hands it on, and may have another
// clock, is not cut off for it.
func TestAbsurdRecordIsItsSignersFault(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var log bytes.Buffer
		list := w.found(4)
		w.within(10*time.Second, "all see all alive", all(list, shoal.Alive))
		m, bad, honest, relay := list[0].m, list[1], list[2], list[3]
		m.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		record := func(c *machine, change func(*view.Record)) view.Item {
			c.m.mu.Lock()
			defer c.m.mu.Unlock()
			it, _ := c.m.view.Item(c.id, c.m.now())
			r, err := view.OpenRecord(it.Fact, c.m.st.Fabric)
			if err != nil {
				t.Fatal(err)
			}
			r.Seq += 100
			change(&r)
			return view.Item{Kind: view.KindRecord, Fact: capability.Seal(c.key, "member", wire.Marshal(r))}
		}
		many := record(bad, func(r *view.Record) { r.Attributes.GPUs = make([]shoal.GPU, 65) })
		tomorrow := record(bad, func(r *view.Record) { r.At = m.now().Add(100 * time.Hour).UnixMilli() })
		good := record(honest, func(r *view.Record) { r.Load.Running = 7 })
		known, err := m.take(relay.id, []view.Item{many, tomorrow, good})
		if err != nil || known[0] != 0b011 {
			t.Fatalf("from another: known %b, %v", known, err)
		}
		if r, _ := m.Lookup(honest.id); r.Load.Running != 7 {
			t.Error("what came with it was not taken")
		}
		if r, _ := m.Lookup(bad.id); len(r.Attributes.GPUs) > 0 {
			t.Error("it was taken")
		}
		if s := log.String(); strings.Count(s, "a record is refused") != 1 || !strings.Contains(s, string(bad.id)) || !strings.Contains(s, "65 graphics processors") {
			t.Errorf("log: %s", s)
		}
		if _, err := m.take(bad.id, []view.Item{many}); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), bad.id.Short()) {
			t.Errorf("from itself: %v", err)
		}
		if _, err := m.ReadRecord(bad.id, wire.Marshal(tomorrow.Fact)); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "ahead") {
			t.Errorf("kept by others: %v", err)
		}
		forged := many
		forged.Fact.Sig = bytes.Repeat([]byte{1}, len(forged.Fact.Sig))
		if _, err := m.take(relay.id, []view.Item{forged}); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("forged: %v", err)
		}
	})
}
