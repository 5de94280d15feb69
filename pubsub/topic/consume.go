package topic

import (
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/log"
	"github.com/shoal-fabric/shoal/wire"
)

func fetch(o *open) ([]byte, error) {
	var q Fetch
	if err := wire.Unmarshal("fetch", o.Payload, &q); err != nil {
		return nil, err
	}
	if q.Consumer != Cast {
		if err := o.durable("fetch"); err != nil {
			return nil, err
		}
	}
	c, err := o.log.Cursor(q.Consumer)
	if err != nil {
		return nil, err
	}
	if c == nil {
		if bound(q.Consumer) {
			return nil, unknown(q.Consumer)
		}
		if c, err = o.log.Make(q.Consumer, q.Start, false); err != nil {
			return nil, err
		}
	}
	s := log.Settle{Worker: q.Worker, Over: q.Over, Lost: q.Lost, Sole: q.Sole, Ack: q.Ack, Limit: q.Limit}
	for _, f := range q.Fail {
		s.Fail = append(s.Fail, log.Failure{Offset: f.Offset, Why: f.Why, After: f.After, Final: f.Final, More: f.More, Back: f.Back})
	}
	got, err := o.log.Fetch(c, s)
	if err != nil {
		return nil, err
	}
	p := o.page()
	p.Due, p.Lag, p.Dead = got.Due, c.Lag(o.log), got.Died
	for _, g := range got.Given {
		m, err := message(g.Entry)
		if err != nil {
			return nil, err
		}
		p.Messages = append(p.Messages, Delivery{Message: m, Try: g.Try, Begun: g.Begun})
	}
	return wire.Marshal(p), nil
}

// bound reports whether a consumer is made by a binding only.
func bound(consumer string) bool {
	return strings.HasPrefix(consumer, "binding:") || strings.HasPrefix(consumer, "group:"+One+":")
}

func unknown(consumer string) error {
	return shoal.E(shoal.NotFound, "consumer '"+consumer+"'", "the topic has none of that name", "see them with 'shoal topic show'")
}

// consumer returns one that there is.
func (o *open) consumer(name string) (*log.Cursor, error) {
	c, err := o.log.Cursor(name)
	if err == nil && c == nil {
		err = unknown(name)
	}
	return c, err
}

func consumers(o *open) ([]byte, error) {
	if err := o.durable("consumers"); err != nil {
		return nil, err
	}
	var out []Consumer
	err := o.log.Cursors(func(c *log.Cursor) error {
		out = append(out, Consumer{
			Name: c.Name(), Next: max(c.Floor(), o.log.First), Lag: c.Lag(o.log), Leased: int(c.Leased()), Dead: c.GivenUp(),
			Used: c.Used, Holds: c.Holds, Missed: c.Missed, Gone: c.Gone,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.Marshal(out), nil
}

func dead(o *open) ([]byte, error) {
	var q Read
	if err := o.ask("dead", &q); err != nil {
		return nil, err
	}
	c, err := o.consumer(q.Consumer)
	if err != nil {
		return nil, err
	}
	const most = 256 // their reasons take up to 300 bytes each
	list, err := o.log.ReadDead(c, q.From, limit(q.Limit, most), log.MaxBudget-most*300)
	if err != nil {
		return nil, err
	}
	p := o.page()
	for _, d := range list {
		m, err := message(log.Entry{Offset: d.Offset, At: d.At, Bytes: d.Bytes})
		if err != nil {
			return nil, err
		}
		p.Messages = append(p.Messages, Delivery{Message: m, Try: d.Try, Begun: d.Begun, Reason: d.Why})
	}
	return wire.Marshal(p), nil
}

func resend(o *open) ([]byte, error) {
	var q Resend
	if err := o.ask("resend", &q); err != nil {
		return nil, err
	}
	c, err := o.consumer(q.Consumer)
	if err != nil {
		return nil, err
	}
	n, err := o.log.Resend(c, q.Offsets, q.Drop)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(n), o.wake()
}

func forget(o *open) ([]byte, error) {
	if err := o.durable("forget"); err != nil {
		return nil, err
	}
	c, err := o.consumer(string(o.Payload))
	if err != nil {
		return nil, err
	}
	if c.Holds {
		return nil, shoal.E(shoal.Refused, "consumer '"+c.Name()+"'", "it is a binding's", "unbind it with 'shoal topic unbind'")
	}
	return nil, o.log.Forget(c)
}
