package members

import (
	"context"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestPassing: without a table, whoever has enough members in contact lets others come and go: they are admitted, and no more.
func TestPassing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const n, mesh = 24, 2
		list := w.found(n, func(c *Config) { c.Table = false; c.Mesh = mesh })
		time.Sleep(5 * time.Second)
		for _, a := range list {
			for _, b := range list {
				if a != b {
					w.must(a.Connect(t.Context(), b.id, b.addrs))
					w.must(a.m.Admit(t.Context(), b.id))
				}
			}
		}
		time.Sleep(time.Minute)
		known := 0
		for _, a := range list {
			alive := 0
			for _, r := range a.m.Table() {
				if r.State == shoal.Alive {
					alive++
				}
			}
			if known += alive; alive < mesh {
				t.Errorf("a node has %d members in contact", alive)
			}
		}
		if each := float64(known) / n; each > 4*mesh {
			t.Errorf("a node has %.1f of %d members in contact on average", each, n-1)
		}
		// Those it knows are gone at once: it gets to know who is there.
		lone := list[n-1]
		for _, r := range lone.m.Table() {
			for _, b := range list[:n-1] {
				if b.id == r.ID {
					b.halt()
				}
			}
		}
		time.Sleep(time.Minute)
		alive := 0
		for _, r := range lone.m.Table() {
			if r.State == shoal.Alive {
				alive++
			}
		}
		if alive < mesh {
			t.Errorf("after its mesh is gone a node has %d members in contact", alive)
		}
	})
}

func TestAdmit(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(2)
		a := list[0]
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		asked := func(c *machine) int { w.mu.Lock(); defer w.mu.Unlock(); return w.count["door.hello of "+c.id.Short()] }
		before := asked(list[1])
		for range 100 {
			w.must(a.m.Admit(t.Context(), list[1].id))
		}
		if n := asked(list[1]) - before; n != 0 {
			t.Errorf("a known member was asked %d times", n)
		}
		time.Sleep(30 * time.Minute)
		w.must(a.m.Admit(t.Context(), list[1].id))
		time.Sleep(time.Second)
		if asked(list[1]) == before {
			t.Error("a verdict holds for ever")
		}
		// Strangers: without a fabric, of another fabric, with a made-up credential.
		none := w.machine(20).boot()
		other := w.machine(21).boot()
		w.must(other.m.Found())
		liar := w.machine(22).boot()
		w.must(liar.m.Found())
		liar.m.st = &state{Fabric: a.m.Fabric(), Chain: list[1].m.Chain()} // stolen
		for _, c := range []*machine{none, other, liar} {
			w.must(a.Connect(t.Context(), c.id, c.addrs))
			time.Sleep(100 * time.Millisecond)
			before := asked(c)
			for range 50 {
				if err := a.m.Admit(t.Context(), c.id); shoal.KindOf(err) != shoal.Refused {
					t.Fatalf("admitted %d: %v", c.cfg.Seed, err)
				}
			}
			if n := asked(c) - before; n > 1 {
				t.Errorf("a stranger was asked %d times", n)
			}
			time.Sleep(11 * time.Second)
			before = asked(c)
			_ = a.m.Admit(t.Context(), c.id)
			if asked(c) == before {
				t.Error("a bad verdict holds for ever")
			}
			if a.m.Known(c.id) {
				t.Error("a stranger is known")
			}
		}
		// A stranger that becomes a member is let in at once.
		w.must(none.m.Join(t.Context(), w.invite(list[1], InviteOptions{})))
		if err := none.m.Admit(t.Context(), a.id); err != nil {
			t.Error(err)
		}
		if err := a.m.Admit(t.Context(), none.id); err != nil {
			t.Error(err)
		}
		// Many ask at once: one exchange.
		late := w.join(w.machine(23), list[1])
		w.must(a.Connect(t.Context(), late.id, late.addrs))
		time.Sleep(time.Second)
		a.m.mu.Lock()
		delete(a.m.verdicts, late.id)
		a.m.mu.Unlock()
		before = asked(late)
		errs := make(chan error)
		for range 50 {
			go func() { errs <- a.m.Admit(t.Context(), late.id) }()
		}
		for range 50 {
			w.must(<-errs)
		}
		if n := asked(late) - before; n != 1 {
			t.Errorf("%d exchanges for 50 callers", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		a.m.mu.Lock()
		delete(a.m.verdicts, late.id)
		a.m.mu.Unlock()
		if err := a.m.Admit(ctx, late.id); shoal.KindOf(err) != shoal.Timeout {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

// TestOldBackup: a node whose disk was restored outdoes what others know of it.
func TestOldBackup(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(2)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		c := list[1]
		w.must(c.kv.Set(seqKey, []byte("1")))
		before, _ := list[0].m.Lookup(c.id)
		c.halt()
		w.must(c.kv.Set(seqKey, []byte("1")))
		c.cfg.Attributes.CPUs = 77
		c.boot().run()
		w.within(30*time.Second, "the new record wins", func() bool {
			r, _ := list[0].m.Lookup(c.id)
			return r.Attributes.CPUs == 77 && r.Seq > before.Seq
		})
	})
}

// TestChainsStayShort: each newcomer joins through the last one.
func TestChainsStayShort(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(1)
		for i := 1; i < 12; i++ {
			list = append(list, w.join(w.machine(i), list[i-1]))
		}
		w.within(20*time.Second, "all alive", all(list, shoal.Alive))
		time.Sleep(time.Minute)
		longest := 0
		for _, c := range list {
			longest = max(longest, len(c.m.Chain()))
		}
		t.Logf("longest chain of 12 in a line: %d", longest)
		if longest > longChain+1 {
			t.Errorf("a chain of %d links", longest)
		}
		c := list[11]
		c.halt()
		c.boot()
		w.must(c.m.Standing())
	})
}
