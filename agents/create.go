package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/wire"
)

// CreateOptions say what agent is wanted.
type CreateOptions struct {
	Name     string // "name" in the fabric's directory, or "owner/name"
	Code     string // CID of a module, which this node can fetch
	Replicas int    // 1, 3 or 5; 0: 3
	Needs    string // what keepers must fulfil: an expression over attributes; "": nothing
	Strict   bool   // refuse rather than begin with fewer keepers
	// Near lists peers to be preferred as keepers, the best first: the agent lives on the first that takes it.
	Near []shoal.PeerID
}

// Created is what came of a birth.
type Created struct {
	Key     string         `json:"key"`
	Name    string         `json:"name"`
	Keepers []shoal.PeerID `json:"keepers"`
	Note    string         `json:"note,omitempty"`
}

// names remembers keys of names, and directories of owners.
type names struct {
	mu     sync.Mutex
	list   *simplelru.LRU[string, known]
	keys   map[string]shoal.Key // as they are written, and what that means
	owners map[shoal.PeerID]shoal.Key
}

type known struct {
	key shoal.Key
	at  time.Time
}

const (
	nameLife = 10 * time.Second // a name may get another key: after so long it is looked up again
	nameWait = 2 * time.Second  // for that, and until the next try
	maxNames = 1 << 12
	maxKeys  = 1 << 10
)

// Resolve returns the key of an agent, given by key, as "name" or as "owner/name".
func (a *Agents) Resolve(ctx context.Context, agent string) (shoal.Key, error) {
	a.names.mu.Lock()
	key, ok := a.names.keys[agent]
	a.names.mu.Unlock()
	if ok {
		return key, nil
	}
	key, owner, name, err := parseAgent(agent)
	if err != nil {
		return "", err
	}
	if key != "" {
		a.names.noteKey(agent, key)
		return key, nil
	}
	if owner, err = a.owner(owner); err != nil {
		return "", err
	}
	full := string(owner) + "/" + name
	a.names.mu.Lock()
	k, ok := a.names.list.Get(full)
	a.names.mu.Unlock()
	if ok && time.Since(k.at) < nameLife {
		return k.key, nil
	}
	if name == directoryName {
		return a.directoryOf(ctx, owner)
	}
	look := ctx
	if ok { // known, and to be looked up again: that is not waited for as long as the call may take
		var cancel context.CancelFunc
		look, cancel = context.WithTimeout(ctx, nameWait)
		defer cancel()
	}
	e, err := a.find(look, owner, name)
	if ok && err != nil && shoal.KindOf(err) != shoal.NotFound && ctx.Err() == nil {
		a.names.keep(full, k.key) // its directory is down, the agent need not be
		return k.key, nil
	}
	if err != nil {
		return "", err
	}
	if e.Service {
		return "", shoal.E(shoal.Invalid, "agent "+name, "the name is a service's", "call it with 'shoal service call'")
	}
	if e.Pending { // its creator went away: finish what it began
		if _, err := a.finish(ctx, owner, e); err != nil {
			return "", shoal.Wrap(shoal.Unavailable, "agent "+name, err)
		}
	}
	a.names.note(full, shoal.Key(e.Key))
	return shoal.Key(e.Key), nil
}

func (n *names) note(full string, key shoal.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list.Add(full, known{key, time.Now()})
}

// keep has a name that could not be looked up hold for a little longer.
func (n *names) keep(full string, key shoal.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k, ok := n.list.Peek(full); ok && k.key == key {
		n.list.Add(full, known{key, time.Now().Add(nameWait - nameLife)})
	}
}

func (n *names) noteKey(text string, key shoal.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.keys) >= maxKeys {
		clear(n.keys)
	}
	n.keys[text] = key
}

// renamed forgets what is known of a name, and reports whether there was anything to forget.
func (n *names) renamed(agent string, root shoal.PeerID) bool {
	key, owner, name, err := parseAgent(agent)
	if err != nil || key != "" {
		return false
	}
	if owner == "" {
		owner = root
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list.Remove(string(owner) + "/" + name)
}

// askDirectory asks an owner's directory.
func (a *Agents) askDirectory(ctx context.Context, owner shoal.PeerID, method string, q directory.Question, read bool, out any) error {
	key, err := a.directoryOf(ctx, owner)
	if shoal.KindOf(err) == shoal.NotFound && owner == a.Members.Root() { // the fabric has one, only nobody is here who knows it
		for wait := 50 * time.Millisecond; err != nil && a.newcomer() && ctx.Err() == nil; wait *= 2 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			key, err = a.directoryOf(ctx, owner)
		}
		if err != nil {
			return unreached(owner, err)
		}
	}
	if err != nil {
		return err
	}
	ask := question{Key: []byte(key), Method: method, Payload: wire.Marshal(q), Read: read}
	if !read {
		var done func()
		ask.Request, done = a.sessions.request(key, a.cfg.Now())
		defer done()
	}
	b, err := a.ask(ctx, key, &ask)
	if errors.Is(err, errNowhere) {
		return unreached(owner, err)
	}
	if err != nil || out == nil {
		return err
	}
	return wire.Unmarshal("answer of a directory", b, out)
}

// unreached says that a directory was not: that says nothing of the names in it.
func unreached(owner shoal.PeerID, err error) error {
	return &shoal.Error{
		Kind: shoal.Unavailable, What: "directory of " + owner.Short(), Why: "no member that answers keeps it, or knows who does",
		Try: "try again once this node is in touch with more members ('shoal peers')", Err: err,
	}
}

func (a *Agents) find(ctx context.Context, owner shoal.PeerID, name string) (*directory.Entry, error) {
	var e directory.Entry
	return &e, a.askDirectory(ctx, owner, "find", directory.Question{Name: name}, true, &e)
}

// List returns the names in an owner's directory ("": the fabric's), in order, after one of them.
func (a *Agents) List(ctx context.Context, owner shoal.PeerID, after string, limit int) (list []directory.Entry, err error) {
	if owner == "" {
		owner = a.Members.Root()
	}
	return list, a.askDirectory(ctx, owner, "list", directory.Question{After: after, Limit: limit}, true, &list)
}

// Create has an agent be born: its name is taken first, by compare-and-swap; then its keepers are told. That it lives the
// name says a moment later: until then whoever looks it up finishes the birth, which changes nothing. Exists: the name has another agent.
func (a *Agents) Create(ctx context.Context, o CreateOptions) (*Created, error) {
	what := "create agent " + o.Name
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Replicas < 1 || o.Replicas > MaxReplicas || o.Replicas%2 == 0 {
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("%d keepers are impossible", o.Replicas), "ask for 1, 3 or 5")
	}
	if len(o.Needs) > maxNeeds {
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("a requirement of %d bytes, more than the limit of %d", len(o.Needs), maxNeeds),
			"say it shorter, with a label for what many have in common")
	}
	if _, err := a.needs.Get(o.Needs); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	owner, err := a.ownerOf(&o)
	if err != nil {
		return nil, err
	}
	if o.Name == directoryName {
		return nil, shoal.E(shoal.Invalid, what, "the name is that of the owner's directory", "choose another")
	}
	if err := a.keepCode(ctx, o.Code, a.Peers.Self()); err != nil { // the other keepers fetch it from here
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	if _, err := a.behaviour(ctx, o.Code); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	if e, err := a.find(ctx, owner, o.Name); err == nil { // before anything is made in vain
		return nil, a.taken(ctx, owner, what, e)
	} else if shoal.KindOf(err) != shoal.NotFound {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	g := Genesis{
		Fabric: a.Members.Fabric(), Owner: owner, Name: o.Name, Nonce: random(16), Code: o.Code, Replicas: o.Replicas,
		At: a.cfg.Now().UnixMilli(), Needs: o.Needs,
	}
	var chosen chosen
	for try := 0; ; try++ { // a busy peer is no reason to begin with fewer
		if chosen, err = a.choose(ctx, wish{needs: o.Needs, salt: string(g.Nonce), n: o.Replicas, near: o.Near}); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, what, err)
		}
		if len(chosen.keepers) >= o.Replicas || !chosen.perhaps || try == chooseTries {
			break
		}
		select {
		case <-time.After(choosePause):
		case <-ctx.Done():
		}
	}
	g.Keepers = chosen.keepers
	if len(g.Keepers) == 0 {
		return nil, shoal.E(shoal.Refused, what, "nobody can keep it"+chosen.reasons(), "ask for less with --needs, or let a node join that fits")
	}
	if len(g.Keepers) < o.Replicas {
		if o.Strict {
			return nil, shoal.E(shoal.Refused, what, fmt.Sprintf("%d of %d keepers can be had%s", len(g.Keepers), o.Replicas, chosen.reasons()),
				"let more nodes join, or create it without --strict")
		}
		begin := 1 // of two neither may fail: one is better; others come as they join
		if len(g.Keepers) >= 3 {
			begin = 3
		}
		g.Keepers = g.Keepers[:begin]
	}
	sealed, key := g.seal(a.Key)
	e, err := a.enter(ctx, owner, "birth", directory.Question{Name: o.Name, Key: []byte(key), Genesis: sealed})
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	if string(e.Key) != string(key) {
		return nil, a.taken(ctx, owner, what, e)
	}
	born, err := a.bringUp(ctx, owner, &g, key, sealed)
	return born, shoal.Wrap(shoal.Unavailable, what, err)
}

// How often keepers are looked for again, when some did not answer, and after how long.
const (
	chooseTries = 3
	choosePause = 700 * time.Millisecond
)

// taken says that a name has an agent, whose birth is finished first if it was left half-way.
func (a *Agents) taken(ctx context.Context, owner shoal.PeerID, what string, e *directory.Entry) error {
	if e.Pending {
		if _, err := a.finish(ctx, owner, e); err != nil {
			return shoal.Wrap(shoal.Unavailable, what, err)
		}
	}
	if e.Service {
		return shoal.E(shoal.Exists, what, "the name is a service's already", "choose another name")
	}
	return shoal.E(shoal.Exists, what, "the name has an agent already, with key "+KeyText(shoal.Key(e.Key)), "choose another name")
}

// finish brings a pending birth to its end: the same whoever does it, and however often.
func (a *Agents) finish(ctx context.Context, owner shoal.PeerID, e *directory.Entry) (*Created, error) {
	g, key, _, err := openGenesis(a.Members.Fabric(), e.Genesis)
	if err != nil {
		return nil, err
	}
	return a.bringUp(ctx, owner, g, key, e.Genesis)
}

// bringUp has the keepers of a name that is taken bear its agent.
func (a *Agents) bringUp(ctx context.Context, owner shoal.PeerID, g *Genesis, key shoal.Key, sealed []byte) (*Created, error) {
	if err := a.birth(ctx, g, sealed); err != nil {
		return nil, err
	}
	a.clerks.at(string(owner)).file(directory.Part{Method: "live", Question: directory.Question{Name: g.Name, Key: []byte(key)}})
	c := &Created{Key: KeyText(key), Name: g.Name, Note: shortOf(g.Replicas, len(g.Keepers))}
	for _, k := range g.Keepers {
		c.Keepers = append(c.Keepers, k.Peer)
	}
	a.places.made(key, place{Keepers: c.Keepers, Order: order{Generation: 1}})
	a.names.note(string(owner)+"/"+g.Name, key)
	return c, nil
}

// shortOf says in words what it means that there are fewer keepers than wanted.
func shortOf(want, have int) string {
	switch {
	case have >= want:
		return ""
	case have == 1:
		return fmt.Sprintf("1 of %d keepers: lost with its machine; others are added as members join", want)
	}
	return fmt.Sprintf("%d of %d keepers; others are added as members join", have, want)
}

func (a *Agents) member(p shoal.PeerID) bool {
	return p == a.Peers.Self() || p == a.Members.Root() ||
		slices.ContainsFunc(a.Members.Table(), func(m shoal.Member) bool { return m.ID == p })
}
