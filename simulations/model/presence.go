package model

import (
	"time"

	"github.com/shoal-fabric/shoal"
	pubtopic "github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/wire"
)

// Who takes part in a fast topic tells the topic's agent, and tells it again before its lease ends: pubsub/cast/line.go. Each time is a turn, and
// the answer is what the topic is.

const (
	castIdle  = 5 * time.Minute // who has not published for so long takes part no more
	shownPubs = 1000            // pubsub/topic: publishers in a view
)

// Bytes of what is said: a presence, and what a topic is, with nobody in it.
var (
	aPresence     = pubtopic.Presence{Peer: shoal.PeerID(make([]byte, 52)), Epoch: 1_700_000_000_000, Number: 100}
	presenceBytes = len(wire.Marshal(aPresence))
	viewBytes     = len(wire.Marshal(pubtopic.View{Made: true, Version: 1}))
)

// buildPresence has those who subscribe take part from the begin on. Among very many nodes nobody's presence is modelled.
func (t *topics) buildPresence() error {
	if t.c.len() >= manyNodes {
		return nil
	}
	dice := t.c.loop.Rand("presence")
	for f := range t.c.s.Topics {
		s := &t.c.s.Topics[f]
		for i := uint32(0); i < uint32(max(s.Count, 1)) && !s.Durable; i++ {
			id := t.first[f] + i
			x := t.topic(f, id)
			for _, n := range x.subs {
				t.c.agents.knows(n, t.c.agents.topics+id)
				t.c.loop.After(time.Duration(dice.Int64N(int64(pubtopic.Renew))), func() { t.renew(x, id, n, false) })
			}
		}
	}
	return nil
}

// takesPart notes that a node has just published.
func (t *topics) takesPart(x *topic, id uint32, n node) {
	if t.c.len() >= manyNodes {
		return
	}
	_, does := x.pubs[n]
	if x.pubs == nil {
		x.pubs = map[node]event.Time{}
	}
	x.pubs[n] = t.c.loop.Now()
	if !does {
		t.renew(x, id, n, true)
	}
}

// renew has a node say that it takes part, and again, as long as it does.
func (t *topics) renew(x *topic, id uint32, n node, publishes bool) {
	c := t.c
	if publishes {
		if !c.up[n] || c.loop.Now()-x.pubs[n] > event.At(castIdle) {
			delete(x.pubs, n)
			return
		}
	}
	if c.up[n] {
		c.agents.call(n, c.agents.topics+id, &actors.Question{Payload: make([]byte, presenceBytes), Tells: x.view()}, func([]byte, bool) {})
	}
	c.loop.After(pubtopic.Renew, func() { t.renew(x, id, n, publishes) })
}

// view is the bytes of what a topic is.
func (x *topic) view() int {
	return viewBytes + presenceBytes*(min(len(x.subs), pubtopic.Shown)+min(len(x.pubs), shownPubs))
}
