package topic

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/log"
	"github.com/shoal-fabric/shoal/wire"
)

// Behaviour is the code of a topic's agent.
type Behaviour struct{}

var _ shoal.Behaviour = Behaviour{}

type method func(o *open) ([]byte, error)

func methods() map[string]method {
	return map[string]method{
		"define": define, "view": (*open).view, "bind": bind, "unbind": unbind, "join": join,
		"publish": publish, "append": appendAll, "read": read,
		"fetch": fetch, "consumers": consumers, "dead": dead, "resend": resend, "forget": forget,
		"tend": tend, "trim": trim,
	}
}

// Methods implements shoal.Behaviour.
func (Behaviour) Methods() []string { return slices.Sorted(maps.Keys(methods())) }

// Open implements shoal.Behaviour.
func (Behaviour) Open(context.Context) (shoal.Instance, error) {
	return &instance{methods: methods()}, nil
}

// instance remembers nothing between turns.
type instance struct{ methods map[string]method }

func (*instance) Broken() bool { return false }
func (*instance) Close()       {}

func (i *instance) Turn(_ context.Context, t *shoal.Turn) ([]byte, error) {
	m := i.methods[t.Method]
	if m == nil {
		return nil, shoal.E(shoal.NotFound, "topic", fmt.Sprintf("no method %.72q", t.Method), fmt.Sprintf("its methods are %v", Behaviour{}.Methods()))
	}
	o := &open{Turn: t}
	if err := get(t, definitionKey, &o.def); err != nil {
		return nil, err
	}
	if !o.def.Made && t.Method != "define" && t.Method != "view" {
		return nil, shoal.E(shoal.Refused, "topic", "it is not defined yet", "create it with 'shoal topic create'")
	}
	var err error
	if o.log, err = log.Open(t.State, o.def.rules(), t.Now.UnixMilli()); err != nil {
		return nil, err
	}
	reply, err := m(o)
	if err == nil && !t.Read {
		err = o.log.Close()
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// open is a topic in one turn.
type open struct {
	*shoal.Turn
	def defined
	log *log.Log
}

// defined is what is kept of the definition.
type defined struct {
	Definition Definition `cbor:"d"`
	Made       bool       `cbor:"m,omitempty"`
	Version    uint64     `cbor:"v,omitempty"`
}

// What a fast topic keeps for Cast.
const (
	castRetain = 60_000 // milliseconds
	castBytes  = 1 << 20
	castTries  = 1000
	castWait   = 5_000 // milliseconds
)

func (d *defined) rules() log.Rules {
	r := log.Rules{Retain: castRetain, Bytes: castBytes, Wait: castWait, Tries: castTries}
	if f := d.Definition; f.Durable {
		r = log.Rules{
			Retain: orElse(f.Retain, DefaultRetain).Milliseconds(), Bytes: f.RetainBytes,
			Wait: orElse(f.AckWait, DefaultAckWait).Milliseconds(), Tries: orElse(f.Tries, DefaultTries),
		}
	}
	return r
}

func orElse[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

// Keys of the state; the log's begin with h, l, c and d.
var (
	definitionKey = []byte("D")
	bindings      = []byte("b")
)

func bindingKey(id string) []byte { return append(slices.Clone(bindings), id...) }

// get decodes a value of the state, if there is one.
func get(t *shoal.Turn, key []byte, v any) error {
	b, ok, err := t.State.Get(key)
	if err != nil || !ok {
		return err
	}
	return decode(b, v)
}

func decode(b []byte, v any) error {
	if err := wire.Unmarshal("record of a topic", b, v); err != nil {
		return &shoal.Error{Kind: shoal.Corrupt, What: "topic", Why: err.Error(), Err: err}
	}
	return nil
}

// durable refuses what only durable topics do.
func (o *open) durable(what string) error {
	if !o.def.Definition.Durable {
		return shoal.E(shoal.Refused, what, "the topic is not durable: it keeps no messages", "create one with 'shoal topic create --durable'")
	}
	return nil
}
