package topic

import (
	"fmt"
	"strconv"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/log"
	"github.com/shoal-fabric/shoal/wire"
)

// MaxAppend is how many messages one Append may have, if they fit.
const MaxAppend = 4096

func publish(o *open) ([]byte, error) {
	m := Message{Publisher: o.Caller, Trace: o.Trace, Body: o.Payload}
	if len(m.Trace) > MaxTrace {
		m.Trace = m.Trace[:MaxTrace]
	}
	if !o.def.Definition.Durable {
		if err := o.forCast(); err != nil {
			return nil, err
		}
	}
	first, err := o.append([]Message{m})
	if err != nil {
		return nil, err
	}
	return strconv.AppendUint(nil, first, 10), nil
}

// forCast sees to it that what is published in a fast topic is kept for who sends it on.
func (o *open) forCast() error {
	c, err := o.log.Cursor(Cast)
	if err == nil && c == nil {
		_, err = o.log.Make(Cast, 0, false)
	}
	return err
}

func appendAll(o *open) ([]byte, error) {
	if err := o.durable("append"); err != nil {
		return nil, err
	}
	var a Append
	if err := wire.View("messages", o.Payload, &a); err != nil {
		return nil, err
	}
	if len(a.Messages) == 0 || len(a.Messages) > MaxAppend {
		return nil, shoal.E(shoal.Invalid, "append", fmt.Sprintf("%d messages, and from 1 to %d are appended at once", len(a.Messages), MaxAppend), "")
	}
	for i := range a.Messages {
		if m := &a.Messages[i]; m.Publisher == "" {
			m.Publisher = o.Caller
		}
	}
	first, err := o.append(a.Messages)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(Appended{first}), nil
}

// append puts messages into the log. What the log knows itself is not written again.
func (o *open) append(list []Message) (uint64, error) {
	entries := make([][]byte, len(list))
	for i := range list {
		m := &list[i]
		if err := m.Check(); err != nil {
			return 0, err
		}
		m.Offset, m.At = 0, 0
		entries[i] = wire.Marshal(m)
	}
	first, err := o.log.Append(entries)
	if err != nil {
		return 0, err
	}
	return first, o.wake()
}

// Delays of the timer tend.
const (
	tendFirst = time.Second
	tendMost  = 10 * time.Second
)

// tending is the payload of the timer tend.
type tending struct {
	Delay time.Duration `cbor:"d"` // after which it is called
	Least uint64        `cbor:"l"` // the least position when it was set; 0: that was not looked up
}

// wake sets the timers that are needed and not set.
func (o *open) wake() error {
	l := o.log
	if !l.Tend && (l.Held > 0 || !o.def.Definition.Durable) {
		if err := o.tend(tending{Delay: tendFirst}); err != nil {
			return err
		}
	}
	if l.Trim == 0 && l.First < l.Next {
		return o.trim(l.Oldest + o.def.rules().Retain - o.Now.UnixMilli())
	}
	return nil
}

func (o *open) tend(t tending) error {
	o.log.Tend = true
	return o.Out.Timer("tend", t.Delay, "tend", wire.Marshal(t))
}

func (o *open) trim(after int64) error {
	after = max(after, 1000)
	o.log.Trim = o.Now.UnixMilli() + after
	return o.Out.Timer("trim", time.Duration(after)*time.Millisecond, "trim", nil)
}

// tend is called by its timer only, and so wakes the topic.
func tend(o *open) ([]byte, error) {
	if o.Caller != "timer" {
		return nil, onlyTimer(o.Method)
	}
	var t tending
	if err := wire.Unmarshal("timer", o.Payload, &t); err != nil {
		return nil, err
	}
	late, least, err := o.log.Late()
	if err == nil && !o.def.Definition.Durable {
		late, least, err = o.casting()
	}
	if err != nil {
		return nil, err
	}
	if o.log.Tend = false; !late {
		return nil, nil
	}
	next := tending{Delay: tendFirst, Least: least}
	if t.Least == 0 || least == t.Least { // nothing went on
		next.Delay = min(max(2*t.Delay, tendFirst), tendMost)
	}
	return nil, o.tend(next)
}

// casting reports whether messages of a fast topic wait for who sends them on.
func (o *open) casting() (bool, uint64, error) {
	c, err := o.log.Cursor(Cast)
	if err != nil || c == nil {
		return false, 0, err
	}
	return c.Floor() < o.log.Next && o.log.First < o.log.Next, c.Floor(), nil
}

// trim is called by its timer only: it drops what is old when nobody appends.
func trim(o *open) ([]byte, error) {
	if o.Caller != "timer" {
		return nil, onlyTimer(o.Method)
	}
	const chunks = 256 // of one turn
	all, err := o.log.Drop(chunks)
	if err != nil {
		return nil, err
	}
	o.log.Trim = 0
	switch {
	case !all:
		return nil, o.trim(0)
	case o.log.Old(): // and held
		return nil, o.trim(60_000)
	case o.log.First < o.log.Next:
		return nil, o.trim(o.log.Oldest + o.def.rules().Retain - o.Now.UnixMilli() + 1)
	}
	return nil, nil
}

func onlyTimer(method string) error {
	return shoal.E(shoal.Refused, "topic", "only its own timer calls "+method, "")
}

// message decodes an entry of the log.
func message(e log.Entry) (m Message, err error) {
	if err := wire.View("message", e.Bytes, &m); err != nil {
		return m, &shoal.Error{Kind: shoal.Corrupt, What: "topic's log", Why: err.Error(), Err: err}
	}
	m.Offset, m.At = e.Offset, e.At
	return m, nil
}

func (o *open) page() Page { return Page{First: o.log.First, Next: o.log.Next} }

func read(o *open) ([]byte, error) {
	var q Read
	if err := o.ask("read", &q); err != nil {
		return nil, err
	}
	if q.From == 0 && q.Since > 0 {
		var err error
		if q.From, err = o.log.Since(q.Since); err != nil {
			return nil, err
		}
	}
	list, err := o.log.Read(max(q.From, 1), limit(q.Limit, log.MaxFetch), log.MaxBudget)
	if err != nil {
		return nil, err
	}
	p := o.page()
	for _, e := range list {
		m, err := message(e)
		if err != nil {
			return nil, err
		}
		p.Messages = append(p.Messages, Delivery{Message: m})
	}
	return wire.Marshal(p), nil
}

// ask decodes a request that only durable topics answer.
func (o *open) ask(what string, q any) error {
	if err := o.durable(what); err != nil {
		return err
	}
	return wire.Unmarshal(what, o.Payload, q)
}

func limit(n, most int) int {
	if n <= 0 || n > most {
		return most
	}
	return n
}
