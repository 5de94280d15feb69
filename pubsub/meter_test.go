package pubsub

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(1_800_000_000, 0)
	if m.rate(now) != 0 {
		t.Error("a rate of nothing")
	}
	for range 30 {
		for range 5 {
			m.add(now.Add(500*time.Millisecond), 10)
		}
		now = now.Add(time.Second)
	}
	if r := m.rate(now); r != 50 {
		t.Errorf("%v a second, not 50", r)
	}
	m.add(now, 1000) // of the second that is not over
	if r := m.rate(now); r != 50 {
		t.Errorf("%v a second, not 50", r)
	}
	if r := m.rate(now.Add(5 * time.Second)); r != 50*5./10+100 {
		t.Errorf("%v a second after a pause", r)
	}
	if r := m.rate(now.Add(time.Hour)); r != 0 {
		t.Errorf("%v a second after an hour", r)
	}
	m.add(now.Add(-time.Minute), 7) // a clock that was set back loses nothing else
	if r := m.rate(now.Add(time.Hour + time.Second)); r != .7 {
		t.Errorf("%v a second", r)
	}
}
