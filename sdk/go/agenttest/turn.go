package agenttest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

// The limits are the fabric's.
const (
	maxName    = 1 << 10
	maxKey     = 1 << 10
	maxValue   = 1 << 20
	maxPayload = 1 << 20
)

// turn is the agent.Host of one turn.
type turn struct {
	f       *Fabric
	a       *member
	read    bool
	payload []byte
	text    map[string]string
	number  map[string]int64
	dice    *rand.ChaCha8

	staged map[string]*[]byte // nil: deleted
	sent   []message
	timers []func()
	logged []string

	changes []func(shared) // of mergeable state
}

var _ agent.Host = (*turn)(nil)

func (t *turn) commit() {
	for _, c := range t.changes {
		c(t.f.shared)
	}
	for k, v := range t.staged {
		if v == nil {
			delete(t.a.kept, k)
		} else {
			t.a.kept[k] = *v
		}
	}
	for _, set := range t.timers {
		set()
	}
	t.f.queue = append(t.f.queue, t.sent...)
	t.a.logged = append(t.a.logged, t.logged...)
}

func (t *turn) Payload() []byte          { return bytes.Clone(t.payload) }
func (t *turn) Text(name string) string  { return t.text[name] }
func (t *turn) Number(name string) int64 { return t.number[name] }
func (t *turn) Random(b []byte)          { _, _ = t.dice.Read(b) }
func (t *turn) Log(line string)          { t.logged = append(t.logged, line) }

func (t *turn) Get(key string) ([]byte, error) {
	if err := bounded("key", len(key), 1, maxKey); err != nil {
		return nil, err
	}
	if v, ok := t.now()[key]; ok {
		return bytes.Clone(v), nil
	}
	return nil, &agent.Error{Kind: agent.NotFound, Text: "there is no such key"}
}

func (t *turn) Put(key string, value []byte) error {
	if err := first(t.staging(), bounded("key", len(key), 1, maxKey), bounded("value", len(value), 0, maxValue)); err != nil {
		return err
	}
	v := append([]byte{}, value...)
	t.staged[key] = &v
	return nil
}

func (t *turn) Delete(key string) error {
	if err := first(t.staging(), bounded("key", len(key), 1, maxKey)); err != nil {
		return err
	}
	t.staged[key] = nil
	return nil
}

func (t *turn) Scan(prefix, after string, limit int) ([]agent.Pair, error) {
	if err := first(bounded("prefix", len(prefix), 0, maxKey), bounded("after", len(after), 0, maxKey)); err != nil {
		return nil, err
	}
	all := t.now()
	var out []agent.Pair
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if len(out) < limit && strings.HasPrefix(k, prefix) && k > after {
			out = append(out, agent.Pair{Key: k, Value: bytes.Clone(all[k])})
		}
	}
	return out, nil
}

func (t *turn) Call(to, method string, payload []byte) ([]byte, error) {
	if err := first(bounded("agent", len(to), 0, maxName), bounded("method", len(method), 0, maxName), bounded("payload", len(payload), 0, maxPayload)); err != nil {
		return nil, err
	}
	return t.f.turn(t.text["agent"], to, method, bytes.Clone(payload), t.read)
}

func (t *turn) Send(to, method string, payload []byte) error {
	if err := first(t.staging(), bounded("agent", len(to), 0, maxName), bounded("method", len(method), 0, maxName), bounded("payload", len(payload), 0, maxPayload)); err != nil {
		return err
	}
	t.sent = append(t.sent, message{t.text["agent"], to, method, bytes.Clone(payload)})
	return nil
}

func (t *turn) Timer(name string, delay time.Duration, method string, payload []byte) error {
	if err := first(t.staging(), bounded("timer", len(name), 0, maxName), bounded("method", len(method), 0, maxName), bounded("payload", len(payload), 0, maxPayload)); err != nil {
		return err
	}
	p := bytes.Clone(payload)
	t.timers = append(t.timers, func() {
		if delete(t.a.timers, name); delay >= 0 {
			t.f.count++
			t.a.timers[name] = timer{t.f.now.Add(delay), t.f.count, method, p}
		}
	})
	return nil
}

// now is what the turn sees.
func (t *turn) now() map[string][]byte {
	all := maps.Clone(t.a.kept)
	for k, v := range t.staged {
		if v == nil {
			delete(all, k)
		} else {
			all[k] = *v
		}
	}
	return all
}

func (t *turn) staging() error {
	if t.read {
		return &agent.Error{Kind: agent.Refused, Text: "the turn reads only"}
	}
	return nil
}

func bounded(what string, n, least, most int) error {
	switch {
	case n < least:
		return &agent.Error{Kind: agent.Invalid, Text: what + ": empty"}
	case n > most:
		return &agent.Error{Kind: agent.Invalid, Text: fmt.Sprintf("%s: %d bytes, and %d is the limit", what, n, most)}
	}
	return nil
}

// first is the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
