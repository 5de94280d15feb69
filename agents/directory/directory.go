// Package directory is the native behaviour of an owner's directory: the agent that says which key a name
// has. A name gets its key by compare-and-swap, once; two creators of one name make two keys, and the name
// decides.
//
// A name is first pending, with the signed genesis of its agent beside it: whoever finds it so may finish
// the birth, with the same keepers and the same result, so that a crash leaves no name without an agent.
// Births happen only while the name is pending. A key that was removed stays in the list of the removed for
// good: nothing is born under it again, while its name is free for another.
//
// A service has its name here as well, so that no agent has the same, and with it all that there is to say of it.
package directory

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits.
const (
	MaxName    = 200      // bytes of a name
	MaxGenesis = 16 << 10 // bytes
	MaxSpec    = 16 << 10 // bytes of what a service is
	MaxList    = 1000     // entries of one answer
	MaxParts   = 64       // questions asked together
)

// Entry is what a directory knows of a name.
type Entry struct {
	Name       string `cbor:"n"`
	Key        []byte `cbor:"k"`
	Genesis    []byte `cbor:"g,omitempty"` // while pending: the signed record
	Pending    bool   `cbor:"p,omitempty"`
	Generation uint64 `cbor:"r,omitempty"` // of recoveries
	At         int64  `cbor:"a"`           // Unix milliseconds of the birth
	Service    bool   `cbor:"v,omitempty"` // no agent
	Spec       []byte `cbor:"s,omitempty"` // of a service: what it is; not in lists of names
}

// Question is what all methods take; which fields count, and what is replied, depends on the method:
//
//	find    Name           the Entry; read only
//	lookup  Name           the Entry, or an empty one if there is none; read only
//	list    After, Limit   up to Limit Entries in order of names; read only
//	birth   Name, Key, Genesis   the Entry that the name has then: the given one, or another that was there
//	live    Name, Key      the agent is born: the Entry
//	remove  Name, Key      the name is free: nothing
//	recover Name, Key, Generation   sets the generation, which must be one more than before: the Entry
//	define  Name, Key, Spec   the Entry that the name has then: the given service, or what was there
//	services After, Limit     up to Limit Entries of services in order of names, with their Specs; read only
//	together Each           several births and lives in one turn, each for itself: their Outcomes
type Question struct {
	Name       string `cbor:"n,omitempty"`
	Key        []byte `cbor:"k,omitempty"`
	Genesis    []byte `cbor:"g,omitempty"`
	Generation uint64 `cbor:"r,omitempty"`
	Spec       []byte `cbor:"s,omitempty"`
	After      string `cbor:"a,omitempty"`
	Limit      int    `cbor:"l,omitempty"`
	Each       []Part `cbor:"e,omitempty"`
}

// Part is one of several questions that are asked together: Method is birth or live.
type Part struct {
	Method string `cbor:"m"`
	Question
}

// Outcome is what came of a Part: an Entry, or an error.
type Outcome struct {
	Entry   Entry       `cbor:"e,omitzero"`
	Failure *wire.Error `cbor:"x,omitempty"`
}

// Behaviour is the code of a directory.
type Behaviour struct{}

type method func(t *shoal.Turn, q *Question) ([]byte, error)

func methods() map[string]method {
	return map[string]method{
		"find": find, "list": list, "birth": birth, "live": live, "remove": remove, "recover": recovered,
		"together": together, "define": define, "lookup": lookup, "services": services,
	}
}

// Methods implements shoal.Behaviour.
func (Behaviour) Methods() (names []string) {
	for name := range methods() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Open implements shoal.Behaviour: a directory remembers nothing between turns.
func (Behaviour) Open(context.Context) (shoal.Instance, error) { return instance{}, nil }

type instance struct{}

func (instance) Broken() bool { return false }
func (instance) Close()       {}

func (instance) Turn(_ context.Context, t *shoal.Turn) ([]byte, error) {
	m := methods()[t.Method]
	if m == nil {
		return nil, shoal.E(shoal.NotFound, "directory", fmt.Sprintf("no method %q", t.Method),
			fmt.Sprintf("its methods are %v", Behaviour{}.Methods()))
	}
	var q Question
	if err := wire.Unmarshal("question to a directory", t.Payload, &q); err != nil {
		return nil, err
	}
	return m(t, &q)
}

// Paths begins the names that may have parts with slashes between them: those of topics.
const Paths = "topic:"

// CheckName refuses what cannot be a name.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName
	path, isPath := strings.CutPrefix(name, Paths)
	for part := range strings.SplitSeq(path, "/") {
		ok = ok && part != "" && (isPath || len(part) == len(path))
		for i, r := range part {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
			ok = ok && (letter || i > 0 && (r == '-' || r == '_' || r == '.' || r == ':'))
		}
	}
	if !ok {
		return shoal.E(shoal.Invalid, fmt.Sprintf("agent's name %.40q", name), "not a name",
			fmt.Sprintf("use up to %d letters, digits and - _ . : and begin with a letter or digit", MaxName))
	}
	return nil
}

func nameKey(name string) []byte { return []byte("n/" + name) }
func goneKey(key []byte) []byte  { return append([]byte("x/"), key...) }

// get returns the entry of a name, nil if it is free.
func get(t *shoal.Turn, name string) (*Entry, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	b, ok, err := t.State.Get(nameKey(name))
	if err != nil || !ok {
		return nil, err
	}
	var e Entry
	if err := wire.Unmarshal("entry of a directory", b, &e); err != nil {
		return nil, &shoal.Error{Kind: shoal.Corrupt, What: "directory", Why: err.Error(), Err: err}
	}
	return &e, nil
}

func put(t *shoal.Turn, e *Entry) ([]byte, error) {
	b := wire.Marshal(e)
	return b, t.State.Put(nameKey(e.Name), b)
}

func find(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := get(t, q.Name)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, unknown(q.Name)
	}
	return wire.Marshal(e), nil
}

func unknown(name string) error {
	return shoal.E(shoal.NotFound, "agent "+name, "its owner's directory has no such name",
		"see the names with 'shoal agent ls', or make it with 'shoal agent create'")
}

func list(t *shoal.Turn, q *Question) ([]byte, error) {
	if q.Limit <= 0 || q.Limit > MaxList {
		q.Limit = MaxList
	}
	var from []byte
	if q.After != "" {
		from = nameKey(q.After)
	}
	pairs, err := t.State.Scan(nameKey(""), from, q.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(pairs))
	for i, p := range pairs {
		if err := wire.Unmarshal("entry of a directory", p.Value, &out[i]); err != nil {
			return nil, &shoal.Error{Kind: shoal.Corrupt, What: "directory", Why: err.Error(), Err: err}
		}
		out[i].Genesis, out[i].Spec = nil, nil
	}
	return wire.Marshal(out), nil
}

func birth(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := get(t, q.Name)
	if err != nil {
		return nil, err
	}
	if len(q.Key) == 0 || len(q.Key) > 128 || len(q.Genesis) == 0 || len(q.Genesis) > MaxGenesis {
		return nil, shoal.E(shoal.Invalid, "birth of "+q.Name, "no key, or no genesis of a possible size", "")
	}
	if e != nil {
		return wire.Marshal(e), nil
	}
	if _, gone, err := t.State.Get(goneKey(q.Key)); err != nil || gone {
		if err == nil {
			err = shoal.E(shoal.Refused, "birth of "+q.Name, "an agent with that key was removed", "create it anew")
		}
		return nil, err
	}
	return put(t, &Entry{Name: q.Name, Key: q.Key, Genesis: q.Genesis, Pending: true, At: t.Now.UnixMilli()})
}

// same returns the entry of a name if it has that key.
func same(t *shoal.Turn, q *Question) (*Entry, error) {
	e, err := get(t, q.Name)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		return nil, unknown(q.Name)
	case !bytes.Equal(e.Key, q.Key):
		return nil, shoal.E(shoal.Refused, "agent "+q.Name, "the name has another key by now", "look it up again")
	}
	return e, nil
}

func live(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := same(t, q)
	if err != nil {
		return nil, err
	}
	e.Pending, e.Genesis = false, nil
	return put(t, e)
}

// together answers several questions in one turn: a thousand births are a few turns. A part that fails has changed nothing.
func together(t *shoal.Turn, q *Question) ([]byte, error) {
	if len(q.Each) == 0 || len(q.Each) > MaxParts {
		return nil, shoal.E(shoal.Invalid, "directory", fmt.Sprintf("%d questions together, and from 1 to %d are allowed", len(q.Each), MaxParts), "")
	}
	out := make([]Outcome, len(q.Each))
	for i, p := range q.Each {
		var b []byte
		var err error
		switch p.Method {
		case "birth":
			b, err = birth(t, &p.Question)
		case "live":
			b, err = live(t, &p.Question)
		default:
			err = shoal.E(shoal.Invalid, "directory", fmt.Sprintf("%.40q is not asked together with others", p.Method), "")
		}
		if err == nil {
			err = wire.Unmarshal("entry of a directory", b, &out[i].Entry)
		}
		if err != nil {
			out[i] = Outcome{Failure: wire.FromError(err)}
		}
	}
	return wire.Marshal(out), nil
}

func remove(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := same(t, q)
	if err != nil {
		return nil, err
	}
	if err := t.State.Delete(nameKey(e.Name)); err != nil {
		return nil, err
	}
	if e.Service {
		return nil, t.State.Delete(serviceKey(e.Name))
	}
	return nil, t.State.Put(goneKey(e.Key), []byte(t.Now.UTC().Format(time.RFC3339)))
}

func recovered(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := same(t, q)
	if err != nil {
		return nil, err
	}
	if q.Generation != e.Generation+1 {
		return nil, shoal.E(shoal.Refused, "recover "+q.Name,
			fmt.Sprintf("it is in generation %d, not %d", e.Generation, q.Generation-1), "somebody else recovers it: look again")
	}
	e.Generation = q.Generation
	return put(t, e)
}
