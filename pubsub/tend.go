package pubsub

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// tender brings the messages of a durable topic that lives on this node to what is bound to it.
type tender struct {
	t      *local
	wake   chan struct{}
	stale  atomic.Bool // what is bound may be something else by now
	ctx    context.Context
	worker string
	tries  int
	limit  time.Duration // of one delivery
}

// Turned hears of a turn of a topic's agent that lives on this node. What is durable is brought from here to what is bound: the log is
// here, and if the agent moves, what it was doing begins anew there. It does not wait.
func (p *PubSub) Turned(key shoal.Key, method string) {
	switch method {
	case "append", "publish", "bind", "unbind", "resend", "tend":
	default:
		return
	}
	if p.life.Err() != nil {
		return
	}
	if d := p.at(key).tended(method); d != nil {
		if method == "bind" || method == "unbind" {
			d.stale.Store(true)
		}
		d.poke()
	}
}

// tended tells whoever waits for messages, and returns the topic's tender, which begins if there is none; nil: there is
// nothing to tend. Locks are taken in this order: the room's, a topic's, a hand's.
func (t *local) tended(method string) *tender {
	entered := t.p.enter()
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.news)
	t.news = make(chan struct{})
	if t.tender == nil && entered && (t.kind != fast || method == "publish") {
		d := &tender{t: t, wake: make(chan struct{}, 1)}
		t.tender = d
		go func() {
			defer t.p.work.Done()
			d.run()
		}()
	} else if entered {
		t.p.work.Done()
	}
	return t.tender
}

// castConsumer is the position from which on a fast topic's messages, those that agents published, have not gone out.
const castConsumer = "cast"

// tendIdle is after how long without anything to do a tender ends.
const tendIdle = 5 * time.Second

// run brings messages to all groups, until there is nothing to do.
func (d *tender) run() {
	t := d.t
	ctx, cancel := context.WithCancel(t.p.life)
	d.ctx, d.worker = ctx, t.p.worker()
	d.stale.Store(true)
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
	}()
	hands := map[string]*hand{}
	for {
		if d.stale.Swap(false) && !d.look(hands) {
			d.stale.Store(true)
		}
		for name, h := range hands {
			select {
			case <-h.over: // overtaken, or gone: another poke begins it anew
				delete(hands, name)
				d.stale.Store(true)
				continue
			default:
			}
			if !h.begun {
				h.begun = true
				all.Go(h.run)
			}
			h.poke()
		}
		select {
		case <-d.wake:
		case <-time.After(tendIdle):
			t.mu.Lock()
			if len(d.wake) == 0 && d.idle(hands) {
				t.tender = nil
				t.mu.Unlock()
				return
			}
			t.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// look makes a hand for each group that has none.
func (d *tender) look(hands map[string]*hand) (ok bool) {
	t := d.t
	ctx, cancel := context.WithTimeout(d.ctx, t.p.cfg.CallTime)
	defer cancel()
	v, err := topicAgents{t.p}.View(ctx, t.key)
	if err != nil {
		t.p.cfg.Log.Debug("topic: cannot be looked at", "topic", t.text, "err", err)
		return false
	}
	kind := t.know(v)
	d.tries, d.limit = cmp.Or(v.Tries, topic.DefaultTries), cmp.Or(v.AckWait, topic.DefaultAckWait)
	var names []string
	if kind == fast {
		names = []string{castConsumer}
	} else {
		for _, g := range t.routed().Groups {
			if g.Mode != topic.Ask {
				names = append(names, g.Consumer)
			}
		}
	}
	for name, h := range hands {
		if !slices.Contains(names, name) {
			h.end()
			delete(hands, name)
		}
	}
	for _, name := range names {
		if hands[name] == nil {
			hands[name] = newHand(d, name)
		}
	}
	return true
}

// idle reports whether no hand has anything to do.
func (d *tender) idle(hands map[string]*hand) bool {
	for _, h := range hands {
		if !h.idle() {
			return false
		}
	}
	return true
}

func (d *tender) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// routed is the topic's route, as last heard.
func (t *local) routed() *topic.Route {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.route
}

// worker is a name under which nobody else fetches.
func (p *PubSub) worker() string {
	return p.Peers.Self().Short() + "/" + strconv.FormatInt(p.cfg.Now().UnixNano(), 36) + "/" + strconv.FormatUint(p.workers.Add(1), 36)
}
