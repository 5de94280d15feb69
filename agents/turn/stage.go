package turn

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Stage collects what one turn does. It implements shoal.State; its Send and Timer are those of
// shoal.Effects. One goroutine at a time may use it.
type Stage struct {
	view  View
	read  bool
	now   int64 // Unix milliseconds
	limit uint64

	writes map[string]Write // by the agent's own key
	sorted []string         // with the first byte of the state's keys; nil: to be made
	sends  []Send
	timers []Timer
	bytes  int
	grow   int64 // of the agent's bytes
	broken error // the state could not be read: the turn cannot count, whatever its code makes of that
}

// NewStage begins a turn on a state: a Pipe, or the applied state for one that only reads. now is the turn's
// time, limit what the agent may keep, in bytes (0: MaxState).
func NewStage(v View, now time.Time, limit uint64, read bool) *Stage {
	if limit == 0 {
		limit = MaxState
	}
	return &Stage{view: v, read: read, now: now.UnixMilli(), limit: limit}
}

// Get implements shoal.State.
func (s *Stage) Get(key []byte) ([]byte, bool, error) {
	if w, ok := s.writes[string(key)]; ok {
		return w.Value, !w.Delete, nil
	}
	return s.view.Get(userKey(key))
}

// Put implements shoal.State.
func (s *Stage) Put(key, value []byte) error {
	if len(value) > MaxValue {
		return shoal.E(shoal.Invalid, "put "+show(key), fmt.Sprintf("a value of %d bytes, more than the limit of %d",
			len(value), MaxValue), "put it as data and keep its CID")
	}
	return s.write(key, Write{Key: slices.Clone(key), Value: slices.Clone(value)})
}

// Delete implements shoal.State.
func (s *Stage) Delete(key []byte) error {
	return s.write(key, Write{Key: slices.Clone(key), Delete: true})
}

func (s *Stage) write(key []byte, w Write) error {
	what := "write " + show(key)
	if err := s.may(what); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > MaxKey {
		return shoal.E(shoal.Invalid, what, fmt.Sprintf("a key of %d bytes: keys have 1 to %d", len(key), MaxKey), "")
	}
	old, ok, err := s.Get(key)
	if err != nil {
		return s.fail(err)
	}
	was, is := int64(0), int64(0)
	if ok {
		was = int64(len(key) + len(old))
	}
	if !w.Delete {
		is = int64(len(key) + len(w.Value))
	}
	prev, again := s.writes[string(key)]
	add := len(key) + len(w.Value)
	if again {
		add -= len(prev.Key) + len(prev.Value)
	}
	if err := s.take(what, add); err != nil {
		return err
	}
	if is > was {
		m, err := ReadMeta(s.view)
		if err != nil {
			return s.fail(err)
		}
		if total := int64(m.Bytes) + s.grow + is - was; total > int64(s.limit) {
			return shoal.E(shoal.Full, what, fmt.Sprintf("the agent would keep %d bytes, more than its limit of %d",
				total, s.limit), "delete something, or put large things as data and keep their CID")
		}
	}
	s.grow += is - was
	if !again {
		s.sorted = nil
	}
	if s.writes == nil {
		s.writes = map[string]Write{}
	}
	s.writes[string(key)] = w
	return nil
}

// Scan implements shoal.State.
func (s *Stage) Scan(prefix, from []byte, limit int) ([]shoal.Pair, error) {
	if s.sorted == nil {
		for k := range s.writes {
			s.sorted = append(s.sorted, string(ofUser)+k)
		}
		slices.Sort(s.sorted)
	}
	return ScanUser(staged{s}, prefix, from, limit)
}

// Send is as in shoal.Effects.
func (s *Stage) Send(to shoal.Key, method string, payload []byte) error {
	what := "send " + method
	if err := s.may(what); err != nil {
		return err
	}
	if len(s.sends) >= MaxSends || len(payload) > MaxPayload || len(method) > MaxName || method == "" {
		return shoal.E(shoal.Invalid, what, fmt.Sprintf("one turn sends up to %d messages of up to %d bytes",
			MaxSends, MaxPayload), "put large things as data and send their CID")
	}
	if err := s.take(what, len(to)+len(method)+len(payload)); err != nil {
		return err
	}
	s.sends = append(s.sends, Send{To: []byte(to), Method: method, Payload: slices.Clone(payload)})
	return nil
}

// Timer is as in shoal.Effects.
func (s *Stage) Timer(name string, delay time.Duration, method string, payload []byte) error {
	what := "timer " + name
	if err := s.may(what); err != nil {
		return err
	}
	if name == "" || len(name) > MaxName || delay >= 0 && (method == "" || len(method) > MaxName) || len(payload) > MaxPayload {
		return shoal.E(shoal.Invalid, what, "it needs a name, a method, and a payload within the limit", "")
	}
	t := Timer{Name: name}
	if delay >= 0 {
		t = Timer{Name: name, Due: s.now + max(1, delay.Milliseconds()), Method: method, Payload: slices.Clone(payload)}
		m, err := ReadMeta(s.view)
		if err != nil {
			return s.fail(err)
		}
		if m.Timers+uint64(len(s.timers)) >= MaxTimers {
			return shoal.E(shoal.Full, what, fmt.Sprintf("an agent has up to %d timers", MaxTimers), "clear some")
		}
	}
	if err := s.take(what, len(name)+len(method)+len(payload)); err != nil {
		return err
	}
	s.timers = append(s.timers, t)
	return nil
}

// Turn returns the entry of a turn that came to its end. The error says that it replies more than
// fits, or that the state could not be read.
func (s *Stage) Turn(m Message, out []byte) (*Entry, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	if len(out) > MaxPayload {
		return nil, shoal.E(shoal.Failed, "reply of "+m.Method, fmt.Sprintf("%d bytes, more than the limit of %d",
			len(out), MaxPayload), "put large things as data and reply with their CID")
	}
	if err := s.take("reply of "+m.Method, len(out)); err != nil {
		return nil, err
	}
	e := &Entry{
		Kind: Turn, At: s.now, Request: m.Request, Method: m.Method, Reply: out, Sends: s.sends, Timers: s.timers,
		From: m.From, Fired: m.Fired,
	}
	if m.Request.Session != "" {
		e.Digest = Digest(m.Method, m.Payload)
	}
	keys := make([]string, 0, len(s.writes))
	for k := range s.writes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		e.Writes = append(e.Writes, s.writes[k])
	}
	return e, nil
}

// Writes reports whether the turn staged anything.
func (s *Stage) Writes() bool { return len(s.writes)+len(s.sends)+len(s.timers) > 0 }

// Message is what a turn processes: a request, a message of another agent, or a timer.
type Message struct {
	Method  string
	Payload []byte
	Request Request // of a call
	From    Source  // of a message
	Fired   Timer   // of a timer
}

func (s *Stage) may(what string) error {
	if s.read {
		return shoal.E(shoal.Refused, what, "the call only reads", "call without --read")
	}
	return nil
}

func (s *Stage) take(what string, n int) error {
	if s.bytes += n; s.bytes > MaxEntry {
		return shoal.E(shoal.Full, what, fmt.Sprintf("the turn writes more than %d bytes in all", MaxEntry),
			"do it in several turns")
	}
	return nil
}

// fail notes that the state cannot be read.
func (s *Stage) fail(err error) error {
	if s.broken == nil {
		s.broken = err
	}
	return err
}

// staged is the stage as a View, for scans.
type staged struct{ *Stage }

func (s staged) Get(key []byte) ([]byte, bool, error) { return s.view.Get(key) }

func show(key []byte) string {
	if len(key) > 40 {
		return fmt.Sprintf("%q...", key[:40])
	}
	return fmt.Sprintf("%q", key)
}

func (s staged) Scan(low, high []byte) iter.Seq2[[]byte, Cell] {
	return overlay(s.view.Scan(low, high), s.sorted, low, high, func(k string) Write { return s.writes[k[1:]] })
}
