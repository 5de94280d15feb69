package pubsub

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// hand brings messages from one group's position on to the group: it fetches as many as may be under way, has each processed in
// its lane, and acknowledges those that were with the next fetch. Of a message that fails, its lane waits until it is
// processed or given up.
type hand struct {
	d        *tender
	consumer string
	group    *group
	lanes    *lanes[*delivery]
	ctx      context.Context
	end      context.CancelFunc
	wake     chan struct{}
	over     chan struct{} // closed when it is over
	begun    bool

	mu    sync.Mutex
	under map[uint64]bool // offsets that are under way
	ack   []uint64
	fail  []topic.Failure
	more  bool // there may be something to fetch
}

func newHand(d *tender, consumer string) *hand {
	h := &hand{d: d, consumer: consumer, wake: make(chan struct{}, 1), over: make(chan struct{}), under: map[uint64]bool{}, more: true}
	h.ctx, h.end = context.WithCancel(d.ctx)
	h.group = &group{t: d.t, consumer: consumer, limit: d.limit, tries: d.tries}
	h.lanes = newLanes(h.ctx, d.t.p.cfg.Lanes, together, &d.t.p.work, h.process)
	return h
}

// poke says that there may be something to fetch.
func (h *hand) poke() {
	h.mu.Lock()
	h.more = true
	h.mu.Unlock()
	h.stir()
}

func (h *hand) stir() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hand) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.under) == 0 && len(h.ack) == 0 && len(h.fail) == 0 && !h.more
}

// run fetches and acknowledges until the hand is ended, or another node has taken over.
func (h *hand) run() {
	defer close(h.over)
	defer h.end()
	p := h.d.t.p
	q := topic.Fetch{Consumer: h.consumer, Worker: h.d.worker, Over: true, Sole: true}
	var due <-chan time.Time
	for pause := time.Duration(0); h.ctx.Err() == nil; {
		if len(q.Ack)+len(q.Fail) == 0 {
			q.Ack, q.Fail, q.Limit = h.take()
		}
		if !q.Over && len(q.Ack)+len(q.Fail)+q.Limit == 0 {
			select {
			case <-h.wake:
			case <-due:
				due = nil
				h.poke()
			case <-h.ctx.Done():
			}
			continue
		}
		var page topic.Page
		if err := p.call(h.ctx, h.d.t.key, "fetch", q, &page); err != nil {
			switch shoal.KindOf(err) {
			case shoal.Refused, shoal.NotFound, shoal.Invalid: // another node has taken over, or the group is gone
				p.cfg.Log.Debug("topic: nothing more is fetched here", "topic", h.d.t.text, "consumer", h.consumer, "err", err)
				return
			}
			p.cfg.Log.Debug("topic: fetch", "topic", h.d.t.text, "consumer", h.consumer, "err", err)
			q.Lost = q.Lost || q.Limit > 0 // it may have been given what it never heard of
			pause = min(max(2*pause, 50*time.Millisecond), 2*time.Second)
			select {
			case <-time.After(pause):
			case <-h.ctx.Done():
			}
			continue
		}
		pause = 0
		got := h.begin(page.Messages)
		h.mu.Lock()
		h.more = h.more || got > 0
		h.mu.Unlock()
		due = nil
		if page.Due > 0 && got == 0 {
			due = time.After(max(time.UnixMilli(page.Due).Sub(p.cfg.Now()), 10*time.Millisecond))
		}
		q = topic.Fetch{Consumer: h.consumer, Worker: h.d.worker}
	}
}

// take returns what is to be told to the topic's agent, and how much may be fetched.
func (h *hand) take() (ack []uint64, fail []topic.Failure, limit int) {
	const most = 4000
	h.mu.Lock()
	defer h.mu.Unlock()
	ack, h.ack = h.ack, nil
	if len(ack) > most {
		ack, h.ack = ack[:most:most], ack[most:]
	}
	fail, h.fail = h.fail, nil
	if room := h.d.t.p.cfg.Window - len(h.under); h.more && room > 0 {
		limit, h.more = room, false
	}
	return ack, fail, limit
}

// begin puts what was fetched into its lanes, and returns how many of it were new.
func (h *hand) begin(list []topic.Delivery) (n int) {
	g := h.routed() // before the lock: the topic's is taken before a hand's
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range list {
		m := &list[i]
		if h.under[m.Offset] {
			continue
		}
		n++
		d := &delivery{m: m, done: func(err error) { h.done(m, err) }}
		lane := "cast"
		if h.consumer != castConsumer {
			if g != nil {
				d.members, lane = g.Pick(&m.Message, m.Letter())
			}
			if len(d.members) == 0 { // not for this group
				h.ack = append(h.ack, m.Offset)
				continue
			}
		}
		h.under[m.Offset] = true
		h.lanes.put(lane, d)
	}
	return n
}

// routed is what is bound, as last heard; nil: nothing is any more.
func (h *hand) routed() *topic.Group {
	for _, g := range h.d.t.routed().Groups {
		if g.Consumer == h.consumer {
			return g
		}
	}
	return nil
}

// process delivers messages of one lane.
func (h *hand) process(list []*delivery) {
	if h.consumer != castConsumer {
		h.group.all(h.ctx, list)
		return
	}
	for _, d := range list {
		d.done(h.cast(d.m))
	}
}

// done notes what came of a message.
func (h *hand) done(m *topic.Delivery, err error) {
	if h.ctx.Err() != nil {
		return // whoever goes on delivers it again
	}
	h.d.t.delivered(err)
	h.mu.Lock()
	delete(h.under, m.Offset)
	if err != nil {
		h.fail = append(h.fail, topic.Failure{Offset: m.Offset, Why: err.Error(), Final: true, More: h.group.tries - m.Try})
	} else {
		h.ack = append(h.ack, m.Offset)
	}
	h.mu.Unlock()
	h.stir()
}

// cast sends a message that an agent published to a fast topic on its way, as if this node had.
func (h *hand) cast(m *topic.Delivery) error {
	out := m.Message
	out.Offset = 0
	err := h.d.t.publishFast(h.ctx, []topic.Message{out})
	if h.ctx.Err() != nil {
		return nil
	}
	return err
}
