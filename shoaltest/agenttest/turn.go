package agenttest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
)

// The limits that the doubles keep to; those of shoal.State and of messages.
const (
	MaxKey     = 1 << 10
	MaxValue   = 1 << 20
	MaxMessage = 1 << 20
)

// TurnState stages what one turn does over what an agent keeps. It is the State and the Effects of that turn.
type TurnState struct {
	Read  bool   // staging anything is refused
	Limit uint64 // bytes that the agent may keep; 0: no limit
	// Calls answers Call. nil: there is no other agent.
	Calls func(ctx context.Context, to, method string, payload []byte) ([]byte, error)

	kept   map[string][]byte  // what was there
	staged map[string]*[]byte // nil: deleted
	Sent   []Message
	Timers []Timer
	Logged []string
}

// Message is one that Send staged.
type Message struct {
	To, Method string
	Payload    []byte
}

// Timer is one that Timer staged.
type Timer struct {
	Name    string
	Delay   time.Duration
	Method  string
	Payload []byte
}

var (
	_ shoal.State   = (*TurnState)(nil)
	_ shoal.Effects = (*TurnState)(nil)
)

// NewTurn returns the state of a turn of an agent that keeps kept, which is only read until Commit.
func NewTurn(kept map[string][]byte) *TurnState {
	return &TurnState{kept: kept, staged: map[string]*[]byte{}}
}

// Commit writes what was staged into kept.
func (t *TurnState) Commit(kept map[string][]byte) {
	for k, v := range t.staged {
		if v == nil {
			delete(kept, k)
		} else {
			kept[k] = *v
		}
	}
}

// now is what the turn sees.
func (t *TurnState) now() map[string][]byte {
	all := maps.Clone(t.kept)
	if all == nil {
		all = map[string][]byte{}
	}
	t.Commit(all)
	return all
}

// Get implements shoal.State.
func (t *TurnState) Get(key []byte) ([]byte, bool, error) {
	if err := t.key(key); err != nil {
		return nil, false, err
	}
	if v, ok := t.staged[string(key)]; ok {
		if v == nil {
			return nil, false, nil
		}
		return *v, true, nil
	}
	v, ok := t.kept[string(key)]
	return v, ok, nil
}

// Put implements shoal.State.
func (t *TurnState) Put(key, value []byte) error {
	if err := t.staging(); err != nil {
		return err
	}
	if err := t.key(key); err != nil {
		return err
	}
	if len(value) > MaxValue {
		return shoal.E(shoal.Invalid, "value", fmt.Sprintf("%d bytes, and %d is the limit", len(value), MaxValue),
			"put it as data and keep its CID")
	}
	v := bytes.Clone(value)
	was, had := t.staged[string(key)]
	t.staged[string(key)] = &v
	if t.Limit == 0 || t.size() <= t.Limit {
		return nil
	}
	delete(t.staged, string(key))
	if had {
		t.staged[string(key)] = was
	}
	return shoal.E(shoal.Full, "agent", fmt.Sprintf("it may keep %d bytes", t.Limit), "delete something")
}

func (t *TurnState) size() (n uint64) {
	for k, v := range t.now() {
		n += uint64(len(k) + len(v))
	}
	return n
}

// Delete implements shoal.State.
func (t *TurnState) Delete(key []byte) error {
	if err := t.staging(); err != nil {
		return err
	}
	if err := t.key(key); err != nil {
		return err
	}
	t.staged[string(key)] = nil
	return nil
}

// Scan implements shoal.State.
func (t *TurnState) Scan(prefix, after []byte, limit int) ([]shoal.Pair, error) {
	all := t.now()
	var out []shoal.Pair
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if len(out) < limit && strings.HasPrefix(k, string(prefix)) && (after == nil || k > string(after)) {
			out = append(out, shoal.Pair{Key: []byte(k), Value: all[k]})
		}
	}
	return out, nil
}

func (t *TurnState) key(key []byte) error {
	if len(key) > MaxKey {
		return shoal.E(shoal.Invalid, "key", fmt.Sprintf("%d bytes, and %d is the limit", len(key), MaxKey), "use a shorter one")
	}
	return nil
}

func (t *TurnState) staging() error {
	if t.Read {
		return shoal.E(shoal.Refused, "turn", "it reads only", "call it without --read")
	}
	return nil
}

// Call implements shoal.Effects.
func (t *TurnState) Call(ctx context.Context, to, method string, payload []byte) ([]byte, error) {
	if t.Calls == nil {
		return nil, shoal.E(shoal.NotFound, "agent '"+to+"'", "there is no other agent here", "")
	}
	return t.Calls(ctx, to, method, payload)
}

// Send implements shoal.Effects.
func (t *TurnState) Send(to, method string, payload []byte) error {
	if err := t.staging(); err != nil {
		return err
	}
	t.Sent = append(t.Sent, Message{to, method, bytes.Clone(payload)})
	return nil
}

// Timer implements shoal.Effects.
func (t *TurnState) Timer(name string, delay time.Duration, method string, payload []byte) error {
	if err := t.staging(); err != nil {
		return err
	}
	t.Timers = append(t.Timers, Timer{name, delay, method, bytes.Clone(payload)})
	return nil
}

// Log implements shoal.Effects.
func (t *TurnState) Log(line string) { t.Logged = append(t.Logged, line) }
