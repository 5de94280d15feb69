package group

import (
	"fmt"
	"slices"
)

// checker holds what was seen against what must be. It keeps, for each group, one history: whoever contradicts
// it has broken an invariant, which is named.
type checker struct {
	w      *world
	broken string // the invariant
	detail string

	log    []map[uint64]choice // by group: committed entries by index
	turns  [][]uint64          // by group: requests in the order in which they happened
	acked  []int               // by group: how many turns there are up to the last acknowledged one
	epochs []map[uint64]uint64 // by group: who led in an epoch
	confs  []Conf
	ids    []map[uint64]Keeper // by group: who ever had a member ID
	left   []map[uint64]bool
	states []map[uint64]bool // by group: members that ever had a state
	acks   []int
	tops   []uint64 // by group: the newest epoch that began
	gens   []uint64 // by group: the newest generation
}

type choice struct {
	kind EntryKind
	term uint64
	req  uint64
}

func newChecker(w *world, groups int) *checker {
	c := &checker{w: w, turns: make([][]uint64, groups), acked: make([]int, groups), confs: make([]Conf, groups), acks: make([]int, groups), tops: make([]uint64, groups), gens: slices.Repeat([]uint64{1}, groups)}
	for range groups {
		c.log = append(c.log, map[uint64]choice{})
		c.epochs = append(c.epochs, map[uint64]uint64{})
		c.ids = append(c.ids, map[uint64]Keeper{})
		c.left = append(c.left, map[uint64]bool{})
		c.states = append(c.states, map[uint64]bool{})
	}
	return c
}

func (c *checker) fail(invariant, format string, args ...any) {
	if c.broken == "" {
		c.broken, c.detail = invariant, fmt.Sprintf(format, args...)
		c.w.log("BROKEN: %s: %s", c.broken, c.detail)
	}
}

// turn: a turn is applied once, over the state that it was computed from, and everywhere in the same order.
func (c *checker) turn(m *member, req, base uint64, state []uint64) {
	if slices.Contains(state, req) {
		c.fail("a turn was applied twice", "request %d on %s", req, m.n.peer)
	}
	if base != uint64(len(state)) {
		c.fail("a turn was applied over a state that it was not computed from", "request %d: computed after %d turns, applied after %d",
			req, base, len(state))
	}
	h := c.turns[m.gi]
	switch i := len(state); {
	case i < len(h) && h[i] != req:
		c.fail("two histories", "turn %d is request %d, and on %s request %d", i, h[i], m.n.peer, req)
	case i == len(h):
		c.turns[m.gi] = append(h, req)
	}
}

// chosen: at most one entry is committed at a position of the log.
func (c *checker) chosen(m *member, e Entry, req uint64) {
	x := choice{e.Kind, e.Term, req}
	if y, ok := c.log[m.gi][m.g.generation<<40|e.Index]; ok && y != x {
		c.fail("two entries at one position of the log", "entry %d: %v, and on %s %v", e.Index, y, m.n.peer, x)
	}
	c.log[m.gi][m.g.generation<<40|e.Index] = x
}

// ack: nothing is acknowledged before a majority has it on disk, of the configuration that was in force when it
// was committed: some one of those from its proposal on.
func (c *checker) ack(m *member, x waiter) {
	p, req := x.pos, x.req
	if !slices.ContainsFunc(append([]Conf{m.g.conf}, m.confs[x.conf:]...), func(conf Conf) bool { return c.majority(m.gi, conf, p) }) {
		c.fail("acknowledged before a majority had it on disk", "request %d at %v", req, p)
	}
	i := slices.Index(c.turns[m.gi], req)
	if i < 0 {
		c.fail("acknowledged before it happened", "request %d", req)
	}
	c.acked[m.gi] = max(c.acked[m.gi], i+1)
	c.acks[m.gi]++
	c.w.stats["turns"]++
}

// again: a repeated request gets the answer of the turn that happened.
func (c *checker) again(m *member, i int, req uint64) {
	if h := c.turns[m.gi]; i >= len(h) || h[i] != req {
		c.fail("two histories", "request %d is recorded as turn %d on %s", req, i, m.n.peer)
	}
	c.acked[m.gi] = max(c.acked[m.gi], i+1)
	c.acks[m.gi]++
	c.w.stats["repeats"]++
}

func (c *checker) majority(gi int, conf Conf, p Position) bool {
	for _, old := range []bool{false, true} {
		have, all := 0, 0
		for _, k := range conf.Members {
			if !k.votes(old) {
				continue
			}
			all++
			if c.durable(gi, k, p) {
				have++
			}
		}
		if 2*have <= all {
			return false
		}
	}
	return true
}

func (c *checker) durable(gi int, k Member, p Position) bool {
	n := c.w.node(k.Peer)
	if n.store != k.Store {
		return c.states[gi][k.ID] // the disk is gone since; that is another fault, which is limited
	}
	r := &n.disk.durable[gi]
	return r.self != k.ID && c.states[gi][k.ID] || r.self == k.ID && r.has(p)
}

// leads: one member leads in an epoch, and begins with all that was acknowledged.
func (c *checker) leads(m *member, epoch uint64) {
	if id, ok := c.epochs[m.gi][m.g.generation<<40|epoch]; ok {
		c.fail("two leaders in one epoch", "epoch %d: members %d and %d", epoch, id, m.g.cfg.Self)
	}
	c.epochs[m.gi][m.g.generation<<40|epoch] = m.g.cfg.Self
	newest := epoch > c.tops[m.gi] // one that was paused may begin late; it has no lease
	c.tops[m.gi] = max(c.tops[m.gi], epoch)
	if n := len(m.n.disk.live[m.gi].state); newest && n < c.acked[m.gi] {
		c.fail("an acknowledged turn is lost", "epoch %d begins with %d turns, %d were acknowledged", epoch, n, c.acked[m.gi])
	}
	if c.left[m.gi][m.g.cfg.Self] && m.g.generation == c.gens[m.gi] && newest {
		c.fail("a member that was removed leads", "member %d in epoch %d", m.g.cfg.Self, epoch)
	}
}

// leaseRead: at most one member has a lease, and its state has all that was acknowledged before.
func (c *checker) leaseRead(m *member) {
	c.fresh(m, c.acked[m.gi], "a stale read under a lease")
	for _, n := range c.w.nodes {
		o := n.open[m.gi]
		if o != nil && o != m && n.up && n.paused <= c.w.now && o.g.Read(n.local()) {
			c.fail("two leases at once", "%s and %s", m.n.peer, n.peer)
		}
	}
}

func (c *checker) quorumRead(m *member, acked int) { c.fresh(m, acked, "a stale read by quorum") }

func (c *checker) fresh(m *member, acked int, invariant string) {
	if n := len(m.n.disk.live[m.gi].state); n < acked {
		c.fail(invariant, "%s read after %d turns, %d were acknowledged", m.n.peer, n, acked)
	}
}

// configured: member IDs are never used again, and voters have had the state before they vote.
func (c *checker) configured(gi int, conf Conf) {
	old := c.confs[gi]
	if conf.Index <= old.Index {
		return
	}
	for _, m := range conf.Members {
		if k, ok := c.ids[gi][m.ID]; ok && k != m.Keeper || c.left[gi][m.ID] {
			c.fail("a member ID was used again", "member %d is %v, and was %v", m.ID, m.Keeper, k)
		}
		c.ids[gi][m.ID] = m.Keeper
		if m.Role != Learner && !c.states[gi][m.ID] {
			c.fail("a voter that never had the state", "member %d", m.ID)
		}
	}
	for id := range c.ids[gi] {
		if !conf.has(id) {
			c.left[gi][id] = true
		}
	}
	c.confs[gi] = conf
}

func (c *checker) hasState(gi int, id uint64) { c.states[gi][id] = true }

// waits: nobody follows a leadership that ended with its process.
func (c *checker) waits(m *member, x *node) {
	l, ok := m.g.conf.Member(m.g.lead)
	if ok && l.Peer == x.peer && m.g.lead != m.g.cfg.Self && m.g.vows.promise.Leader == l.ID &&
		m.g.vows.promise.Incarnation < m.n.met[x.id] && m.g.vows.promise.Until > m.n.local() {
		c.fail("a group waits for a leader whose process is gone", "%s for %s", m.n.peer, x.peer)
	}
}

// settled: once everything is healed, every group makes progress, and all its keepers agree.
func (c *checker) settled(before []int) {
	for gi := range c.turns {
		if c.acks[gi] == before[gi] {
			c.fail("no progress after all was healed", "group %s", c.w.names[gi])
		}
		for _, m := range c.confs[gi].Members {
			n := c.w.node(m.Peer)
			r := &n.disk.live[gi]
			if n.store != m.Store || r.self != m.ID {
				continue
			}
			for i, req := range r.state {
				if i >= len(c.turns[gi]) || c.turns[gi][i] != req {
					c.fail("two histories", "turn %d on %s", i, n.peer)
				}
			}
		}
	}
}

// recovered: a new generation begins with what its log has, and forgets the rest.
func (c *checker) recovered(gi int, s Stored) {
	c.confs[gi], c.gens[gi] = Conf{}, s.Generation
	clear(c.left[gi])
	c.configured(gi, s.Mark.Conf)
}
