package dht_test

import (
	"errors"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// TestTellMany: who comes late is told all, also if it is more than one portion, and without a question.
func TestTellMany(t *testing.T) {
	f := newFabric(t, patient())
	f.tables = true
	a := f.start(newHost(t))
	const n = 10_000 // more than two portions
	keys := make([]shoal.Key, n)
	for i := range keys {
		keys[i] = testKey(i)
	}
	if err := a.Provide(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	f.until("the first to be announced, as what is on its way is not called back", func() bool { return a.Heard(keys[0]) })
	if err := a.Withdraw(t.Context(), keys[0]); err != nil {
		t.Fatal(err)
	}
	if err := a.Provide(t.Context(), keys[1:]...); err != nil {
		t.Fatal(err)
	}
	b := f.start(newHost(t))
	f.connect(b, a)
	for _, k := range keys[1:] {
		f.until("each to be told", func() bool { return b.Heard(k) })
	}
	if b.Heard(keys[0]) {
		t.Error("what was withdrawn before is still told")
	}
	if found, err := shoaltest.Found(t.Context(), a, keys[7], 1); err != nil || len(found) != 1 || found[0] != a.id {
		t.Errorf("it does not find itself: %v, %v", found, err)
	}
}

// TestDiskIsFull: a key that cannot be noted is not announced, and whoever asked for it is told.
func TestDiskIsFull(t *testing.T) {
	f := newFabric(t, patient())
	table := shoaltest.NewTable()
	f.cfg.Table = table
	a := f.start(newHost(t))
	table.Fail(errors.New("no space"))
	if err := a.Provide(t.Context(), testKey("late")); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("%v", err)
	}
	table.Fail(nil)
	if err := a.Provide(t.Context(), testKey("late")); err != nil {
		t.Error(err)
	}
	f.heard(a, testKey("late"), a)
}
