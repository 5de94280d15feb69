package state

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/state/merge"
)

var (
	seed  = flag.Uint64("seed", 1, "of the first schedule")
	seeds = flag.Int("seeds", 15, "schedules to run")
)

var bg = context.Background()

func add(name string, by int64) Change { return Change{Name: name, Verb: Add, By: by} }

func TestNewsSpread(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		defer w.close()
		for i, n := range w.nodes {
			must(t, n.Change(bg, 3, add("hits", int64(i+1)), Change{Name: "who", Verb: Insert, Item: string(n.id)},
				Change{Name: "profile", Field: "name", Verb: Put, Text: []byte(n.id)}))
		}
		took := w.agree(2 * time.Second)
		t.Logf("they agree after %v", took)
		for _, n := range w.nodes {
			list, err := n.Get("who")
			if n.number(t, "hits") != 15 || err != nil || len(list) != 1 || len(list[0].Items) != 5 || list[0].Kind != merge.Set {
				t.Errorf("%s: %d, %v %v", n.id, n.number(t, "hits"), list, err)
			}
			if list, err = n.Get("profile"); err != nil || list[0].Field != "name" || string(list[0].Text) != "peer-04" {
				t.Errorf("%s: %v %v", n.id, list, err)
			}
		}
		// Removals are forgotten once all have them.
		must(t, w.nodes[1].Change(bg, 5, Change{Name: "who", Verb: Remove, Item: "peer-03"}))
		w.agree(2 * time.Second)
		time.Sleep(3 * forgetOld)
		for _, n := range w.nodes {
			if st := n.Stats(); st.Gone != 0 || st.Objects != 3 {
				t.Errorf("%s: %+v", n.id, st)
			}
		}
	})
}

// TestCopies: an acknowledged change is on as many disks; when others cannot be had that is said, and it is made all the same.
func TestCopies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		defer w.close()
		must(t, w.nodes[0].Change(bg, 3, add("a", 1)))
		for _, n := range w.nodes {
			if n.number(t, "a") != 1 {
				t.Errorf("%s does not have it", n.id)
			}
		}
		for _, n := range w.nodes[1:] {
			w.net.Cut("peer-00", n.id)
			w.net.Cut(n.id, "peer-00")
		}
		err := w.nodes[0].Change(bg, 0, add("a", 1))
		if shoal.KindOf(err) != shoal.Unavailable || w.nodes[0].number(t, "a") != 2 {
			t.Errorf("%v, %d", err, w.nodes[0].number(t, "a"))
		}
		must(t, w.nodes[0].Change(bg, 1, add("a", 1)))
		for _, n := range w.nodes[1:] {
			w.net.Heal("peer-00", n.id)
			w.net.Heal(n.id, "peer-00")
		}
		w.agree(5 * time.Second)
		if w.nodes[2].number(t, "a") != 3 {
			t.Error(w.nodes[2].number(t, "a"))
		}
		// Alone in the fabric one disk is enough, unless more are asked for.
		w.set("peer-01", shoal.Left)
		w.set("peer-02", shoal.Forgotten)
		must(t, w.nodes[0].Change(bg, 0, add("a", 1)))
		if err := w.nodes[0].Change(bg, 2, add("a", 1)); shoal.KindOf(err) != shoal.Unavailable {
			t.Error(err)
		}
		if err := w.nodes[0].Change(bg, -1, add("a", 1)); shoal.KindOf(err) != shoal.Invalid {
			t.Error(err)
		}
	})
}

// TestDiskThatRefuses: what could not be written has not happened, here or anywhere.
func TestDiskThatRefuses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		defer w.close()
		n := w.nodes[0]
		must(t, n.Change(bg, 2, add("a", 1)))
		n.table.Fail(shoal.E(shoal.Full, "disk", "it is full", ""))
		if err := n.Change(bg, 1, add("a", 5)); shoal.KindOf(err) != shoal.Full {
			t.Error(err)
		}
		if n.number(t, "a") != 1 {
			t.Error("it is seen all the same")
		}
		n.table.Fail(nil)
		must(t, n.Change(bg, 2, add("a", 2)))
		w.agree(2 * time.Second)
		if w.nodes[1].number(t, "a") != 3 {
			t.Error(w.nodes[1].number(t, "a"))
		}
	})
}

// TestLivesOfADisk: a restart keeps everything; a disk that was lost is filled again; one that was set back
// makes another replica, so that nothing is counted for something else.
func TestLivesOfADisk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		defer w.close()
		n := w.nodes[0]
		must(t, n.Change(bg, 3, add("a", 1), Change{Name: "s", Verb: Insert, Item: "x"}))
		n.down()
		n.up()
		if n.number(t, "a") != 1 {
			t.Error("lost by a restart")
		}
		snap, err := n.table.Snapshot()
		must(t, err)
		old := shoaltest.NewTable()
		for p, err := range snap.Scan(nil, nil) {
			must(t, err)
			must(t, old.Commit(true, shoal.Write{Key: p.Key, Value: p.Value}))
		}
		must(t, n.Change(bg, 3, add("a", 10), Change{Name: "s", Verb: Insert, Item: "y"}))
		n.down()
		n.table = old // a backup
		n.up()
		before := n.replica()
		w.agree(5 * time.Second)
		must(t, n.Change(bg, 3, add("a", 1000)))
		w.agree(5 * time.Second)
		if got := w.nodes[1].number(t, "a"); got != 1011 || n.replica() == before {
			t.Errorf("after a disk was set back: %d, as %s", got, n.replica())
		}
		n.down()
		n.table = shoaltest.NewTable()
		n.up()
		took := w.agree(5 * time.Second)
		t.Logf("an empty disk is filled after %v", took)
		must(t, n.Change(bg, 3, add("b", 1)))
		w.agree(2 * time.Second)
	})
}

func TestWatch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		defer w.close()
		got := make(chan Object, 1)
		go func() {
			o, err := w.nodes[2].Watch(bg, "hits", "", func(o Object) (bool, error) { return o.Number >= 10, nil })
			if err != nil {
				t.Error(err)
			}
			got <- o
		}()
		for i := range 10 {
			must(t, w.nodes[i%2].Change(bg, 1, add("hits", 1)))
		}
		if o := <-got; o.Number != 10 {
			t.Error(o)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		if _, err := w.nodes[0].Watch(ctx, "hits", "", func(Object) (bool, error) { return false, nil }); shoal.KindOf(err) != shoal.Timeout {
			t.Error(err)
		}
		if _, err := w.nodes[0].Watch(bg, "hits", "", func(Object) (bool, error) { return false, errors.New("no") }); err == nil {
			t.Error("an error of the condition is lost")
		}
	})
}

// TestKinds: what a change may be made of.
func TestKinds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		defer w.close()
		n := w.nodes[0]
		must(t, n.Change(bg, 0, add("hits", 1), Change{Name: "level", Kind: merge.Tally, Verb: Add, By: -4}, Change{Name: "level", Verb: Add, By: 1},
			Change{Name: "seen", Kind: merge.GrowSet, Verb: Insert, Item: "x"}, Change{Name: "seen", Verb: Insert, Item: "y"}))
		if n.number(t, "level") != -3 {
			t.Error(n.number(t, "level"))
		}
		for _, c := range []struct {
			Change
			kind shoal.Kind
		}{
			{Change{Name: "hits", Verb: Insert, Item: "x"}, shoal.Exists},
			{Change{Name: "hits", Verb: Add, By: 1, Kind: merge.Tally}, shoal.Exists},
			{Change{Name: "hits", Verb: Add, By: -1}, shoal.Invalid},
			{Change{Name: "hits", Verb: Clear}, shoal.Invalid},
			{Change{Name: "seen", Verb: Remove, Item: "x"}, shoal.Exists},
			{Change{Name: "none", Verb: Remove, Item: "x"}, shoal.NotFound},
			{Change{Name: "none", Verb: "double"}, shoal.Invalid},
			{Change{Name: "\xff", Verb: Add, By: 1}, shoal.Invalid},
			{Change{Name: "", Verb: Add, By: 1}, shoal.Invalid},
		} {
			if err := n.Change(bg, 1, c.Change); shoal.KindOf(err) != c.kind || err == nil {
				t.Errorf("%+v: %v", c.Change, err)
			}
		}
		if _, err := n.Get("none"); shoal.KindOf(err) != shoal.NotFound {
			t.Error(err)
		}
	})
}

// TestFull: what all members hold is bounded where it is made; what takes away is still made, and what others made is taken in.
func TestFull(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.cfg.Most = 20_000
		w.add()
		w.cfg.Most = 0
		w.add()
		defer w.close()
		n := w.nodes[0]
		put := func(i int) error {
			return n.Change(bg, 1, Change{Name: "m", Field: fmt.Sprint(i), Verb: Put, Text: make([]byte, 100)})
		}
		made := 0
		for ; made < 1000 && put(made) == nil; made++ {
		}
		if made < 30 || made > 60 || shoal.KindOf(put(made)) != shoal.Full {
			t.Fatalf("%d were made, then: %v", made, put(made))
		}
		stage := func(c Change) error {
			d := n.Draft(false)
			must(t, d.Change(c))
			return d.Commit(bg)
		}
		if err := stage(add("x", 1)); shoal.KindOf(err) != shoal.Full {
			t.Error(err)
		}
		must(t, w.nodes[1].Change(bg, 2, add("y", 7)))
		if n.number(t, "y") != 7 {
			t.Error("what another made is not there")
		}
		must(t, stage(Change{Name: "m", Field: "0", Verb: Clear}))
		for i := range 9 {
			must(t, n.Change(bg, 1, Change{Name: "m", Field: fmt.Sprint(i + 1), Verb: Clear}))
		}
		time.Sleep(3 * forgetOld) // until all have it
		must(t, put(2000))
		w.agree(5 * time.Second)
		n.down()
		w.cfg.Most = 20_000
		n.up()
		for i := 0; put(3000+i) == nil; i++ {
			if i > 20 {
				t.Fatal("after a restart there is no bound")
			}
		}
	})
}

// TestSchedules: changes while links are cut and lose and delay messages, and nodes go down and come back; all agree
// afterwards, and no acknowledged change of a counter is lost.
func TestSchedules(t *testing.T) {
	for i := range *seeds {
		n := *seed + uint64(i)
		if !t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { schedule(t, rand.New(rand.NewPCG(n, 3))) })
		}) {
			t.Fatalf("replay with -seed %d -seeds 1", n)
		}
	}
}

func schedule(t *testing.T, r *rand.Rand) {
	w := newWorld(t, 2+r.IntN(4))
	w.cfg.Fanout = 1 + r.IntN(8)
	defer w.close()
	var sum int64
	pick := func() *node { return w.nodes[r.IntN(len(w.nodes))] }
	links := func(f func(a, b shoal.PeerID)) {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if a != b {
					f(a.id, b.id)
				}
			}
		}
	}
	for range 60 {
		switch n := pick(); r.IntN(12) {
		default:
			by := r.Int64N(5)
			if err := n.Change(bg, 1, add("sum", by)); err != nil {
				t.Fatal(err)
			}
			sum += by
		case 1:
			_ = n.Change(bg, 1, Change{Name: "set", Verb: Remove, Item: fmt.Sprint(r.IntN(5))})
		case 2, 3:
			must(t, n.Change(bg, 1, Change{Name: "set", Verb: Insert, Item: fmt.Sprint(r.IntN(5))}))
		case 4:
			must(t, n.Change(bg, 1, Change{Name: "reg", Field: fmt.Sprint(r.IntN(2)), Verb: Put, Text: []byte(fmt.Sprint(r.IntN(100)))}))
		case 5:
			_ = n.Change(bg, 1, Change{Name: "reg", Field: fmt.Sprint(r.IntN(2)), Verb: Clear})
		case 6:
			if a, b := pick(), pick(); a != b {
				w.net.Cut(a.id, b.id)
			}
		case 7:
			if a, b := pick(), pick(); a != b {
				w.net.Drop(a.id, b.id, r.Float64())
				w.net.Delay(a.id, b.id, time.Duration(r.IntN(500))*time.Millisecond)
			}
		case 8:
			links(w.net.Heal)
		case 9:
			n.down()
			time.Sleep(time.Duration(r.IntN(3)) * time.Second)
			n.up()
		case 10:
			time.Sleep(time.Duration(r.IntN(20)) * time.Second)
		case 11:
			if len(w.nodes) < 6 {
				w.add()
			}
		}
	}
	links(func(a, b shoal.PeerID) {
		w.net.Heal(a, b)
		w.net.Drop(a, b, 0)
		w.net.Delay(a, b, 0)
	})
	w.agree(time.Minute)
	if got := w.nodes[0].number(t, "sum"); got != sum {
		t.Fatalf("the sum is %d, not %d", got, sum)
	}
	time.Sleep(3 * forgetOld)
	for _, n := range w.nodes {
		if st := n.Stats(); st.Gone > 0 {
			t.Fatalf("%s: %+v", n.id, st)
		}
	}
}
