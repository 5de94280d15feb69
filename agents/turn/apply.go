package turn

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Mutations returns what applying e does to the state that v shows: each key at most once, in order of keys.
// It decides nothing that depends on anything but v and e.
func Mutations(v View, e *Entry) ([]Write, error) {
	a := &applying{v: v, out: map[string]Write{}}
	if err := read(v, metaKey, &a.meta); err != nil {
		return nil, err
	}
	a.meta.Time = max(a.meta.Time, e.At)
	var err error
	switch e.Kind {
	case Turn:
		err = a.turn(e)
	case Expire:
		err = a.expire(e)
	case Settle:
		err = a.settle(e)
	case Code:
		a.meta.Code, a.meta.Manifest = e.Code, e.Manifest
		a.set(manifestKey, e.Signed)
		err = a.effects(e) // of migrate
	}
	if err != nil {
		return nil, err
	}
	if e.Event != nil {
		a.note(*e.Event)
	}
	a.put(metaKey, a.meta)
	list := make([]Write, 0, len(a.out))
	for _, w := range a.out {
		list = append(list, w)
	}
	slices.SortFunc(list, func(x, y Write) int { return slices.Compare(x.Key, y.Key) })
	return list, nil
}

type applying struct {
	v    View
	meta Meta
	out  map[string]Write
}

func (a *applying) put(key []byte, v any) { a.set(key, wire.Marshal(v)) }

func (a *applying) set(key, value []byte) { a.out[string(key)] = Write{Key: key, Value: value} }

func (a *applying) drop(key []byte) { a.out[string(key)] = Write{Key: key, Delete: true} }

// get reads through what was written so far.
func (a *applying) get(key []byte) (value []byte, ok bool, err error) {
	if w, here := a.out[string(key)]; here {
		return w.Value, !w.Delete, nil
	}
	return a.v.Get(key)
}

func (a *applying) turn(e *Entry) error {
	a.meta.Turns++
	if err := a.record(e); err != nil {
		return err
	}
	if e.From.Number > 0 {
		a.put(named(ofInbox, string(e.From.Agent)), e.From)
	}
	if e.Fired.Name != "" {
		if err := a.clear(e.Fired.Name); err != nil {
			return err
		}
	}
	return a.effects(e)
}

// effects are what the agent's code did: writes, timers, messages.
func (a *applying) effects(e *Entry) error {
	if err := a.writes(e.Writes); err != nil {
		return err
	}
	for _, t := range e.Timers {
		if err := a.clear(t.Name); err != nil {
			return err
		}
		if t.Due > 0 {
			a.put(named(ofTimer, t.Name), t)
			a.meta.Timers++
		}
	}
	for _, s := range e.Sends {
		var n uint64
		key := named(ofNext, string(s.To))
		b, ok, err := a.get(key)
		if err != nil {
			return err
		}
		if ok {
			if err := wire.Unmarshal("state", b, &n); err != nil {
				return err
			}
		}
		n++
		a.put(key, n)
		a.put(named(ofOutbox, string(s.To), n), s)
	}
	return nil
}

// writes changes the agent's own state and keeps count of its bytes.
func (a *applying) writes(list []Write) error {
	for _, w := range list {
		key := userKey(w.Key)
		old, ok, err := a.get(key)
		if err != nil {
			return err
		}
		if ok {
			a.meta.Bytes -= min(a.meta.Bytes, uint64(len(w.Key)+len(old)))
		}
		if w.Delete {
			a.drop(key)
			continue
		}
		a.set(key, w.Value)
		a.meta.Bytes += uint64(len(w.Key) + len(w.Value))
	}
	return nil
}

// few is how many replies are forgotten one by one.
const few = 64

// record keeps the reply and forgets those that the caller has.
func (a *applying) record(e *Entry) error {
	r := e.Request
	if r.Session == "" {
		return nil
	}
	a.put(named(ofReply, r.Session, r.Number), reply{Digest: e.Digest, Reply: e.Reply})
	key := named(ofSession, r.Session)
	var s session
	if err := read(a.v, key, &s); err != nil {
		return err
	}
	switch gap := r.Done - min(r.Done, s.Floor); {
	case gap == 0:
	case gap <= few: // the usual: one by one, without a look at what is there
		for n := max(s.Floor, 1); n < r.Done; n++ {
			a.drop(named(ofReply, r.Session, n))
		}
		s.Floor = r.Done
	default:
		for k, c := range a.v.Scan(named(ofReply, r.Session, s.Floor), named(ofReply, r.Session, r.Done)) {
			if c.Err != nil {
				return c.Err
			}
			a.drop(slices.Clone(k))
		}
		s.Floor = r.Done
	}
	s.Used = max(s.Used, e.At)
	a.put(key, s)
	return nil
}

func (a *applying) clear(name string) error {
	key := named(ofTimer, name)
	_, ok, err := a.get(key)
	if err != nil || !ok {
		return err
	}
	a.meta.Timers -= min(a.meta.Timers, 1)
	a.drop(key)
	return nil
}

// settle takes messages out of the outbox.
func (a *applying) settle(e *Entry) error {
	for _, s := range e.Settled {
		low, high := named(ofOutbox, string(s.To), 0), named(ofOutbox, string(s.To), s.Number+1)
		if s.Why != "" {
			low = named(ofOutbox, string(s.To), s.Number)
		}
		for k, c := range a.v.Scan(low, high) {
			if c.Err != nil {
				return c.Err
			}
			a.drop(slices.Clone(k))
			if s.Why == "" {
				continue
			}
			var m Send
			if err := wire.Unmarshal("message", c.Value, &m); err != nil {
				return err
			}
			a.put(named(ofDead, string(s.To), s.Number), Dead{Send: m, Number: s.Number, At: e.At, Why: s.Why})
		}
	}
	return nil
}

// expire forgets sessions. One that its user named leaves a mark: it may come again at any time.
func (a *applying) expire(e *Entry) error {
	for _, name := range e.Sessions {
		if _, ok, err := a.v.Get(named(ofSession, name)); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		a.drop(named(ofSession, name))
		a.meta.Floor = max(a.meta.Floor, begun(name)+1)
		for k, c := range a.v.Scan(named(ofReply, name), after(named(ofReply, name))) {
			if c.Err != nil {
				return c.Err
			}
			if !strings.HasPrefix(name, userPrefix) {
				a.drop(slices.Clone(k))
				continue
			}
			var was reply
			if err := wire.Unmarshal("recorded reply", c.Value, &was); err != nil {
				return err
			}
			a.put(slices.Clone(k), reply{Digest: was.Digest, Expired: true})
		}
	}
	return nil
}

// Dead is a message that nobody would take.
type Dead struct {
	Send
	Number uint64 `cbor:"i"`
	At     int64  `cbor:"a"`
	Why    string `cbor:"w"`
}

// Schedules reports whether changes of a state may move the time at which it must be looked at next.
func Schedules(list []Write) bool {
	return slices.ContainsFunc(list, func(w Write) bool { return w.Key[0] == ofTimer || w.Key[0] == ofOutbox })
}

// Timers lists the timers that are set, the next due first.
func Timers(v View) (list []Timer, err error) {
	for _, c := range v.Scan([]byte{ofTimer}, []byte{ofTimer + 1}) {
		var t Timer
		if c.Err != nil {
			return nil, c.Err
		}
		if err := wire.Unmarshal("timer", c.Value, &t); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b Timer) int {
		return cmp.Or(cmp.Compare(a.Due, b.Due), strings.Compare(a.Name, b.Name))
	})
	return list, nil
}

// Pending is a message of the outbox.
type Pending struct {
	Send
	Number uint64
}

// Outbox lists the oldest messages that did not arrive yet, up to limit for each receiver, in the order of
// sending.
func Outbox(v View, limit int) (list []Pending, err error) {
	count := map[string]int{}
	for k, c := range v.Scan([]byte{ofOutbox}, []byte{ofOutbox + 1}) {
		if c.Err != nil {
			return nil, c.Err
		}
		to, n, ok := nameOf(k, true)
		if !ok {
			return nil, shoal.E(shoal.Corrupt, "outbox", fmt.Sprintf("malformed key %x", k), "")
		}
		if count[to]++; count[to] > limit {
			continue
		}
		p := Pending{Number: n}
		if err := wire.Unmarshal("message", c.Value, &p.Send); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// Received returns the last message from a sender that was processed; zero if there was none.
func Received(v View, sender shoal.Key) (s Source, err error) {
	return s, read(v, named(ofInbox, string(sender)), &s)
}

// Stale lists up to limit sessions that were not used since a time in Unix milliseconds.
func Stale(v View, before int64, limit int) (list []string, err error) {
	for k, c := range v.Scan([]byte{ofSession}, []byte{ofSession + 1}) {
		if c.Err != nil {
			return nil, c.Err
		}
		var s session
		if err := wire.Unmarshal("session", c.Value, &s); err != nil {
			return nil, err
		}
		if name, _, ok := nameOf(k, false); ok && s.Used < before {
			if list = append(list, name); len(list) == limit {
				break
			}
		}
	}
	return list, nil
}

// ScanUser yields what the agent's own code keeps, from a key on: for those who look from outside.
func ScanUser(v View, prefix, from []byte, limit int) (list []shoal.Pair, err error) {
	low := userKey(prefix)
	if len(from) > 0 {
		low = append(userKey(from), 0)
	}
	for k, c := range v.Scan(low, after(userKey(prefix))) {
		if c.Err != nil {
			return nil, c.Err
		}
		if list = append(list, shoal.Pair{Key: slices.Clone(k[1:]), Value: slices.Clone(c.Value)}); len(list) == limit {
			break
		}
	}
	return list, nil
}
