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

// TestPartitionIsRepaired: what a partition parts for long is repaired on both sides, each from the copies that it has; a short one is not noted.
func TestPartitionIsRepaired(t *testing.T) {
	for _, table := range []bool{true, false} {
		for _, lasts := range []time.Duration{20 * time.Second, 3 * time.Minute} {
			s := plain(60, func(s *scenario.Scenario) {
				s.Table, s.Duration = table, 10*time.Minute
				s.Data = []scenario.Dataset{{Name: "d", Count: 4, Bytes: 4 << 20, Partition: 1 << 20, Replicas: 3}}
				s.Faults = []scenario.Fault{{Kind: scenario.Partition, At: time.Minute, For: lasts, Share: 0.5}}
			})
			c, err := newCity(s, 1, Options{})
			if err != nil {
				t.Fatal(err)
			}
			d, some := c.data, c.churn.crowd(0)
			c.loop.Run(event.At(time.Minute-1), 1<<40)
			short := 0 // copies that one side or the other lacks
			for p := range d.keeps {
				in := 0
				for _, n := range d.keeps[p] {
					if some.has(n) {
						in++
					}
				}
				if in > 0 && in < 3 {
					short += 3 // 3-in on one side, in on the other
				}
			}
			if short == 0 {
				t.Fatal("nothing was parted")
			}
			c.loop.Run(event.At(9*time.Minute), 1<<40)
			want := uint64(short) << 20
			if lasts < repairAfter {
				want = 0
			}
			if d.repaired != want {
				t.Errorf("table %v, a partition of %v: %d bytes repaired, want %d", table, lasts, d.repaired, want)
			}
		}
	}
}
