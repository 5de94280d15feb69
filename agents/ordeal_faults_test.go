package agents

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
)

// nemeses are what is done to the machines, by name; each returns once it is undone. What an agent's owner may ask
// for while it is in use belongs here as well.
var nemeses = map[string]func(*crowd){
	"kill":       func(c *crowd) { c.kill(1, 0, false) },
	"kill all":   func(c *crowd) { c.kill(machines, 0, false) },
	"torn write": func(c *crowd) { c.kill(1+c.o.rng.IntN(machines), 50, true) },
	"pause":      func(c *crowd) { c.pause() },
	"one way":    func(c *crowd) { c.oneWay() },
	"partition":  func(c *crowd) { c.partition() },
	"replace":    func(c *crowd) { c.replace() },
	"restart":    func(c *crowd) { c.restart() },
	"leave":      func(c *crowd) { c.leave() },
	"move":       func(c *crowd) { c.move() },
	"clock":      func(c *crowd) { c.clock() },
	"disk full":  func(c *crowd) { c.disks(func(m *machine, on bool) { m.disk.full.Store(on) }, 3) },
	"disk sick":  func(c *crowd) { c.sick() },
	"disk slow":  func(c *crowd) { c.slow() },
	"mess":       func(c *crowd) { c.mess() },
}

// some returns a time between.
func (c *crowd) some(least, most time.Duration) time.Duration {
	return least + time.Duration(c.o.rng.Int64N(int64(most-least)))
}

// victim is a machine: as a rule one that leads an agent.
func (c *crowd) victim() *machine {
	agent := c.keys[[]string{"kv", "kv", "kv", "lock", "counter"}[c.o.rng.IntN(5)]]
	if c.o.rng.IntN(4) > 0 {
		for _, m := range c.o.machines {
			if m.leads(agent) {
				return m
			}
		}
	}
	return c.o.machines[c.o.rng.IntN(machines)]
}

// shuffled are the machines, the victim first.
func (c *crowd) shuffled() []*machine {
	first := c.victim()
	out := []*machine{first}
	for _, i := range c.o.rng.Perm(machines) {
		if m := c.o.machines[i]; m != first {
			out = append(out, m)
		}
	}
	return out
}

// kill switches n machines off, and on again after a while. The fault holds until they may lead again: while all are
// off nothing can be done.
func (c *crowd) kill(n, part int, noise bool) {
	list := c.shuffled()[:n]
	for _, m := range list {
		m.kill(part, noise)
	}
	for _, m := range list {
		time.Sleep(c.some(0, 2500*time.Millisecond) / time.Duration(n))
		m.start()
	}
	time.Sleep(2 * time.Second)
}

// pause holds a machine for longer than a lease.
func (c *crowd) pause() {
	m := c.victim()
	m.pause()
	time.Sleep(c.some(1600*time.Millisecond, 5*time.Second))
	m.resume(func() { c.stale(m) })
	time.Sleep(100 * time.Millisecond)
}

// weathers has the network hold or lose what cannot pass.
func (c *crowd) weathers() {
	loses := c.o.rng.IntN(2) == 0
	c.o.web.change(func() {
		for _, m := range c.o.machines {
			w := c.o.web.rough[m.id]
			w.breakOff = loses
			c.o.web.rough[m.id] = w
		}
	})
}

func (c *crowd) cut(pairs [][2]*machine) {
	c.weathers()
	set := func(on bool) {
		c.o.web.change(func() {
			for _, p := range pairs {
				c.o.web.cut[[2]shoal.PeerID{p[0].id, p[1].id}] = on
			}
		})
	}
	set(true)
	time.Sleep(c.some(2*time.Second, 6*time.Second))
	set(false)
}

// oneWay cuts what a machine sends to one or all others, or what it hears from them.
func (c *crowd) oneWay() {
	list := c.shuffled()
	var pairs [][2]*machine
	sends, all := c.o.rng.IntN(2) == 0, c.o.rng.IntN(3) > 0
	for i, m := range list[1:] {
		if i > 0 && !all {
			break
		}
		p := [2]*machine{list[0], m}
		if !sends {
			p = [2]*machine{m, list[0]}
		}
		pairs = append(pairs, p)
	}
	c.cut(pairs)
}

// partition cuts one or two machines off the others, or makes a ring in which each hears its neighbours only.
func (c *crowd) partition() {
	list := c.shuffled()
	var pairs [][2]*machine
	ring, n := c.o.rng.IntN(4) == 0, 1+c.o.rng.IntN(2)
	for i, x := range list {
		for j, y := range list {
			apart := (i < n) != (j < n)
			if ring {
				d := (i - j + machines) % machines
				apart = d != 0 && d != 1 && d != machines-1
			}
			if apart {
				pairs = append(pairs, [2]*machine{x, y})
			}
		}
	}
	c.cut(pairs)
}

// replace has a keeper away for so long that others take its place; then it is back, as it was or with a new disk.
func (c *crowd) replace() {
	m := c.victim()
	m.kill(0, false)
	time.Sleep(c.o.cfg.Replace + c.some(4*time.Second, 8*time.Second))
	if c.o.rng.IntN(2) == 0 && !c.member(m) {
		c.o.trace("%s gets a new disk", m.id.Short())
		m.disk = &disk{FS: vfs.NewCrashableMem(), lies: m.disk.lies}
	}
	m.start()
	time.Sleep(time.Second)
}

// restart ends a machine's process in order, which hands over what it leads, and begins it again.
func (c *crowd) restart() {
	for range 3 {
		m := c.victim()
		if l := m.living(); l != nil {
			l.stop()
			<-l.stopped
			_ = l.agents.Close()
		}
		m.kill(100, false)
		time.Sleep(c.some(0, 500*time.Millisecond))
		m.start()
		time.Sleep(c.some(0, 1500*time.Millisecond))
	}
}

// move has agents move, to keepers and to others, one after the other; at times a machine is lost on the way.
func (c *crowd) move() {
	names := []string{"kv", "kv", "lock", "counter", "directory"}
	for range 4 {
		list := c.shuffled()
		from, to := list[1], list[c.o.rng.IntN(machines)]
		key := c.keys[names[c.o.rng.IntN(len(names))]]
		l := from.living()
		if l == nil {
			continue
		}
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(c.o.ctx, 5*time.Second)
			defer cancel()
			done <- l.agents.Move(ctx, KeyText(key), to.id)
		}()
		if c.o.rng.IntN(3) == 0 {
			time.Sleep(c.some(time.Millisecond, 200*time.Millisecond))
			m := list[c.o.rng.IntN(2)]
			m.kill(0, false)
			time.Sleep(c.some(0, 2500*time.Millisecond))
			m.start()
		}
		c.o.trace("%s moved to %s: %v", KeyText(key), to.id.Short(), <-done)
		time.Sleep(c.some(0, 500*time.Millisecond))
	}
	time.Sleep(time.Second)
}

// leave has a machine hand over all that it keeps, and go; later it comes back as a new one.
func (c *crowd) leave() {
	m := c.victim()
	if l := m.living(); l != nil {
		ctx, cancel := context.WithTimeout(c.o.ctx, 20*time.Second)
		err := l.agents.Drain(ctx, nil)
		cancel()
		c.o.trace("%s leaves: %v", m.id.Short(), err)
		if err != nil { // others are away, too
			return
		}
	}
	m.kill(0, false)
	c.o.setState(m.id, shoal.Left)
	time.Sleep(c.some(0, 3*time.Second))
	m.disk = &disk{FS: vfs.NewCrashableMem(), lies: m.disk.lies}
	m.start()
}

// member reports whether a machine is, or may be, a keeper of anything.
func (c *crowd) member(m *machine) bool {
	for _, k := range c.keys {
		led := false
		for _, other := range c.o.machines {
			if !other.leads(k) {
				continue
			}
			_, _, mark, err := other.living().agents.store.glance(k)
			led = err == nil
			for _, x := range mark.Conf.Members {
				if x.Peer == m.id {
					return true
				}
			}
		}
		if !led {
			return true
		}
	}
	return false
}

// clock sets the wall clocks of some machines wrong by an hour.
func (c *crowd) clock() {
	set := func(by func() time.Duration) {
		for _, m := range c.o.machines {
			d := by()
			m.mu.Lock()
			m.wall = d
			m.mu.Unlock()
		}
	}
	for range 3 {
		set(func() time.Duration { return time.Duration(c.o.rng.IntN(3)-1) * time.Hour })
		if m := c.victim(); c.o.rng.IntN(2) == 0 { // another leads, with another clock
			m.kill(0, false)
			time.Sleep(500 * time.Millisecond)
			m.start()
		}
		time.Sleep(c.some(500*time.Millisecond, 2*time.Second))
	}
	set(func() time.Duration { return 0 })
}

// disks does something to the disks of some machines, for a while.
func (c *crowd) disks(set func(m *machine, on bool), most int) {
	list := c.shuffled()[:1+c.o.rng.IntN(most)]
	for _, m := range list {
		set(m, true)
	}
	time.Sleep(c.some(3*time.Second, 6*time.Second))
	for _, m := range list {
		set(m, false)
	}
}

// sick has a disk fail writes, of which some happen; the machine is started again for it.
func (c *crowd) sick() {
	m := c.victim()
	m.sick.Store(true)
	time.Sleep(c.some(500*time.Millisecond, 3*time.Second))
	m.kill(c.o.rng.IntN(101), true)
	time.Sleep(c.some(0, time.Second))
	m.start()
	time.Sleep(time.Second)
}

func (c *crowd) slow() {
	c.disks(func(m *machine, on bool) {
		m.slow.Store(0)
		if on {
			m.slow.Store(int64(c.some(20*time.Millisecond, 2500*time.Millisecond)))
		}
	}, 3)
}

// mess has messages late, twice, out of order and lost.
func (c *crowd) mess() {
	set := func(w weather) {
		c.o.web.change(func() {
			for _, m := range c.o.machines {
				c.o.web.rough[m.id] = w
			}
		})
	}
	set(weather{late: c.some(time.Millisecond, 400*time.Millisecond), twice: 0.3, out: 0.2, lost: 0.03})
	time.Sleep(c.some(4*time.Second, 8*time.Second))
	set(weather{})
}
