package model

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/agents/keepers"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/simulations/actors"
)

// belief is where a caller believes an agent to be, and its session there.
type belief struct {
	leader  node
	led     bool
	keepers []node
	session string
	last    uint64
	done    uint64 // all requests below have their replies
	open    map[uint64]bool
}

func (k *agents) belief(from node, id uint32) *belief {
	key := uint64(from)<<32 | uint64(id)
	p := k.places[key]
	if p == nil {
		if len(k.places) >= maxPlaces {
			clear(k.places)
			clear(k.names)
		}
		p = &belief{done: 1, open: map[uint64]bool{}}
		k.places[key] = p
	}
	return p
}

func byName(x, y node) int { return cmp.Compare(peerID(x), peerID(y)) }

// knows has a node have called an agent before the begin: it knows the name's key, and who keeps the agent.
func (k *agents) knows(from node, id uint32) {
	k.names[uint64(from)<<32|uint64(id)] = true
	p := k.belief(from, id)
	p.keepers = k.keepersOf(id)
	p.leader, p.led = slices.MinFunc(p.keepers, byName), true
}

// call is one on its way.
type call struct {
	k     *agents
	from  node
	life  uint16
	a     *actors.Agent
	p     *belief
	q     *actors.Question
	n     uint64 // number of the request in its session
	wait  time.Duration
	tried map[node]int
	over  bool
	done  func([]byte, bool)
}

// number names the request: agents' sessions.
func (x *call) number() {
	p := x.p
	if p.session == "" {
		p.session = turn.Session(x.k.c.clock().UnixMilli(), fmt.Sprintf("%08x.%d", x.from, x.a.ID))
	}
	p.last++
	x.n = p.last
	p.open[x.n] = true
	x.q.Request = turn.Request{Session: p.session, Number: x.n, Done: p.done}
}

func (x *call) end(reply []byte, ok bool) {
	if x.over {
		return
	}
	x.over = true
	p := x.p
	if delete(p.open, x.n); x.n > 0 {
		for p.done <= p.last && !p.open[p.done] {
			p.done++
		}
	}
	if x.k.c.lives(x.from) == x.life { // else nobody waits for it
		x.done(reply, ok)
	}
}

// alive reports whether the call goes on.
func (x *call) alive() bool { return !x.over && x.k.c.lives(x.from) == x.life }

// try asks whoever is believed to lead the agent, or a keeper: agents' ask.
func (x *call) try() {
	c, p := x.k.c, x.p
	if !x.alive() {
		return
	}
	if p.led && x.tried[p.leader] < 20 {
		x.send(p.leader, false, x.answered)
		return
	}
	if len(p.keepers) == 0 || !slices.ContainsFunc(p.keepers, func(n node) bool { return x.tried[n]%4 != 3 }) {
		found, took := x.k.locate(x.from, x.a, len(p.keepers) > 0)
		c.loop.After(took, func() {
			if !x.alive() {
				return
			}
			if len(found) > 0 {
				p.keepers = found
				x.send(x.least(), false, x.answered)
				return
			}
			x.again()
		})
		return
	}
	x.send(x.least(), false, x.answered)
}

func (x *call) least() node {
	return slices.MinFunc(x.p.keepers, func(a, b node) int { return x.tried[a] - x.tried[b] })
}

// again is after a while, longer each time.
func (x *call) again() {
	x.k.c.loop.After(x.wait, x.try)
	x.wait = min(2*x.wait, callMost)
}

// send brings the question to a node, and what it says back. If that takes long others are asked besides.
func (x *call) send(to node, hedge bool, then func(to node, ans actors.Answer)) {
	k, c := x.k, x.k.c
	x.tried[to]++
	size := len(x.q.Payload) + askHead + readAsk
	if !x.q.Read {
		size += callAsk - readAsk
	}
	said := false
	q := *x.q
	ask := func() {
		k.troupe.Ask(to, x.a, &q, func(ans actors.Answer) {
			back := callReply + len(ans.Reply)
			if !ans.Done || !x.p.led || x.p.leader != to {
				back += placeReply
			}
			tell := func() {
				said = true
				if x.alive() {
					then(to, ans)
				}
			}
			if to == x.from {
				c.loop.After(0, tell)
			} else {
				k.post(to, x.from, c.links.calls, back, tell)
			}
		})
	}
	if to == x.from {
		ask()
	} else {
		k.post(x.from, to, c.links.calls, size, ask)
	}
	if hedge {
		return
	}
	c.loop.After(second, func() {
		if !said && x.alive() {
			x.others(to, 0)
		}
	})
}

// answered takes what a keeper says.
func (x *call) answered(to node, ans actors.Answer) {
	p := x.p
	if ans.Done {
		p.leader, p.led = to, true
		x.end(ans.Reply, true)
		return
	}
	if p.led && p.leader == to {
		p.led = false
	}
	if len(ans.Keepers) > 0 {
		p.keepers = ans.Keepers
	}
	if ans.Led && ans.Leader != to && x.tried[ans.Leader] < 3 {
		p.leader, p.led = ans.Leader, true
		x.try()
		return
	}
	x.again()
}

// others asks the keepers but for one, one after the other and again and again, until one answers or names another leader. Less and less
// often it looks who they are by now.
func (x *call) others(but node, round int) {
	if !x.alive() {
		return
	}
	if !keepers.Anew(round, len(x.p.keepers)) {
		x.other(but, round, 0)
		return
	}
	found, took := x.k.locate(x.from, x.a, round > 0)
	x.p.keepers = found
	x.k.c.loop.After(took, func() { x.other(but, round, 0) })
}

// other asks the i-th of them.
func (x *call) other(but node, round, i int) {
	c := x.k.c
	if !x.alive() {
		return
	}
	list := slices.DeleteFunc(slices.Clone(x.p.keepers), func(n node) bool { return n == but })
	if i >= len(list) {
		c.loop.After(second/4, func() { x.others(but, round+1) })
		return
	}
	to := list[i]
	heard := false
	x.send(to, true, func(to node, ans actors.Answer) {
		heard = true
		if ans.Done || ans.Led && ans.Leader != but {
			x.answered(to, ans)
			return
		}
		x.other(but, round, i+1)
	})
	c.loop.After(hedgeWait, func() {
		if !heard {
			x.other(but, round, i+1)
		}
	})
}

// locate finds who keeps an agent: some members are asked, and else the DHT is. If those who were known were asked in vain, most of the
// keepers have to say so.
func (k *agents) locate(from node, a *actors.Agent, vain bool) (found []node, took time.Duration) {
	c, keepers := k.c, a.Keepers()
	if slices.Contains(keepers, from) {
		return keepers, 0
	}
	slices.SortFunc(keepers, byName) // so all ask the same one first, which wakes it
	best := time.Duration(-1)
	asked, same := 0, 0
	for _, n := range c.acquainted(from) {
		if n == from || asked == around {
			continue
		}
		asked++
		t, ok := c.ask(from, n, c.links.wheres, whereAsk, callReply)
		if !ok {
			t = aroundFor
		} else if slices.Contains(keepers, n) {
			if same++; best < 0 || t < best {
				best = t
			}
		}
		took = max(took, min(t, aroundFor))
	}
	if vain && same <= len(keepers)/2 {
		best = -1
	}
	if best >= 0 {
		*c.links.wheres += placeReply
		return keepers, best
	}
	_, look, _ := c.find(from, c.hashed("agent", uint64(a.ID)), len(keepers))
	return keepers, took + look
}
