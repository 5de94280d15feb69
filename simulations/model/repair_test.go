package model

import (
	"fmt"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestHoldersCount: when a holder is gone for long, all who keep something of the dataset count its copies, twice, the second time with the
// help of the DHT, and the copies are restored; who comes back counts once. Also where so many share a set that only the first are connected.
func TestHoldersCount(t *testing.T) {
	for _, parts := range []int{2, 64} {
		t.Run(fmt.Sprint(parts, " partitions"), func(t *testing.T) { holdersCount(t, parts) })
	}
}

func holdersCount(t *testing.T, parts int) {
	s := plain(120, func(s *scenario.Scenario) {
		s.Table, s.Duration = false, time.Hour
		s.Data = []scenario.Dataset{{Name: "d", Count: 1, Bytes: scenario.Size(parts) << 19, Partition: 1 << 19, Replicas: 3}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, held := c.data, c.said["data.held"]
	until := func(at time.Duration) uint64 {
		was := held.bytes
		c.loop.Run(event.At(at), 1<<40)
		return held.bytes - was
	}
	if n := until(time.Minute); n != 0 {
		t.Errorf("%d bytes of counting while all is well", n)
	}
	first := d.keeps[0][0]
	lost := len(d.by[first])
	c.set(first, false)
	sharers := len(d.sharers(&d.sets[0]))
	if few := sharers < 64; few != (parts == 2) {
		t.Fatalf("%d share the set", sharers)
	}
	one := uint64(heldAsk + heldReply + askHead)
	if n, want := until(5*time.Minute), (2*uint64(sharers)*uint64(sharers-1)+uint64(lost))*one; n != want {
		t.Errorf("%d sharers said %d bytes, want %d", sharers, n, want)
	}
	if d.repaired == 0 || len(d.keeps[0]) != 4 {
		t.Errorf("%d bytes repaired; kept by %v", d.repaired, d.keeps[0])
	}
	c.set(first, true)
	sharers = len(d.sharers(&d.sets[0]))
	if n, want := until(6*time.Minute), uint64(sharers-1)*one; n != want {
		t.Errorf("who came back said %d bytes, want %d", n, want)
	}
}
