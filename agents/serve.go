package agents

import (
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// onCall answers a call from another node.
func (a *Agents) onCall(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var q question
	if err := wire.View("call of an agent", req, &q); err != nil {
		return nil, err
	}
	if len(q.Payload) > turn.MaxPayload || (q.Method == "") == (q.Op == "") || len(q.Method) > turn.MaxName || len(q.Chain.Agents) > maxDepth+1 {
		return nil, shoal.E(shoal.Invalid, "call of an agent", "payload, method or chain beyond the limits", "")
	}
	ans, err := a.serve(ctx, from, &q)
	if err != nil {
		ans = &answer{Failure: wire.FromError(err)}
	}
	return wire.Marshal(ans), nil
}

// serve answers a question about an agent that this node may keep.
func (a *Agents) serve(ctx context.Context, from shoal.PeerID, q *question) (*answer, error) {
	if q.Caller == "" {
		q.Caller = string(from)
	}
	key := shoal.Key(q.Key)
	for try := 0; ; try++ {
		x, err := a.get(key)
		if err == nil {
			var ans *answer
			if ans, err = x.serve(ctx, from, q); err == nil {
				return ans, nil
			}
			if x.gone() && try < 3 {
				continue // it left memory in between
			}
		}
		if shoal.KindOf(err) == shoal.NotFound && x == nil {
			if gone, gerr := a.store.gone(key); gerr == nil && gone {
				return nil, shoal.E(shoal.NotFound, "agent "+KeyText(key), "it was removed", "")
			}
			return &answer{}, nil // elsewhere, perhaps
		}
		return nil, err
	}
}

func (x *actor) gone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dead != nil
}

// patience is how long a call waits here for a leader before its caller asks elsewhere.
const patience = 2 * time.Second

// serve processes a question if this node leads the agent; the answer says who does otherwise.
func (x *actor) serve(ctx context.Context, from shoal.PeerID, q *question) (*answer, error) {
	if at, err := x.leads(ctx); at != nil || err != nil {
		return at, err
	}
	var out []byte
	var err error
	switch {
	case q.Op != "":
		out, err = x.operation(ctx, from, q)
	case q.Method == migrate:
		err = noMigrate()
	case q.Read:
		out, err = x.read(ctx, q)
	default:
		out, err = x.process(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	ans := &answer{Reply: out, Done: true}
	x.mu.Lock()
	defer x.mu.Unlock()
	if at := (order{x.rec.Generation, x.mark.Conf.Index, x.epoch}); !x.open || at != q.Known {
		ans.At = x.place()
	}
	return ans, nil
}

// leads returns nothing once this node leads the agent, or where it is instead.
func (x *actor) leads(ctx context.Context) (*answer, error) {
	x.mu.Lock()
	here := x.open && x.dead == nil
	x.mu.Unlock()
	if here {
		return nil, nil
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		x.mu.Lock()
		switch {
		case x.dead != nil:
			defer x.mu.Unlock()
			return nil, x.dead
		case x.open:
			x.mu.Unlock()
			return nil, nil
		}
		if err := x.g.Campaign(x.a.instant()); err != nil { // another leads
			at := &answer{At: x.place()}
			x.flush()
			x.mu.Unlock()
			return at, nil
		}
		x.flush()
		ch, open := x.changed, x.open
		x.mu.Unlock()
		if open {
			continue
		}
		select {
		case <-ch:
		case <-end.C:
			if err := x.why(nil); err != nil {
				return nil, err
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			return &answer{At: x.place()}, nil
		case <-ctx.Done():
			return nil, x.why(ctx.Err())
		}
	}
}

// why says what a call waited for when its time ran out.
func (x *actor) why(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	missing := ""
	for _, m := range x.mark.Conf.Members {
		if _, suspected := x.a.post.life(m.Peer); suspected {
			missing += " " + m.Peer.Short()
		}
	}
	if missing == "" {
		return err
	}
	return &shoal.Error{
		Kind: shoal.Unavailable, What: "agent " + x.genesis.Name, Why: "too few of its keepers answer; silent:" + missing,
		Try: "bring them back, or wait until they are replaced", Err: err,
	}
}

// place says where the agent is, as this keeper knows. The caller holds mu.
func (x *actor) place() place {
	s := x.g.Status()
	p := place{Epoch: s.Epoch, Order: order{s.Generation, s.Conf.Index, s.Epoch}, Leader: s.Leader.Peer}
	for _, m := range s.Conf.Members {
		p.Keepers = append(p.Keepers, m.Peer)
	}
	return p
}

// process has a call or a message processed in its turn.
func (x *actor) process(ctx context.Context, q *question) ([]byte, error) {
	return x.enqueue(ctx, &mail{
		m:      turn.Message{Method: q.Method, Payload: q.Payload, Request: q.Request, From: q.From},
		caller: q.Caller, chain: q.Chain, ctx: ctx,
	})
}

// enqueue puts something into the mailbox and waits for what comes of it.
func (x *actor) enqueue(ctx context.Context, m *mail) ([]byte, error) {
	type outcome struct {
		reply []byte
		err   error
	}
	ch := make(chan outcome, 1)
	m.done = func(reply []byte, err error) { ch <- outcome{reply, err} }
	x.mu.Lock()
	err := x.dead
	if err == nil {
		err = x.put(m)
	}
	if err == nil && !x.open {
		x.mail = x.mail[:len(x.mail)-1]
		err = notHere()
	}
	x.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case o := <-ch:
		return o.reply, o.err
	case <-ctx.Done():
		return nil, x.why(ctx.Err())
	}
}

// Show describes an agent as one of its keepers sees it.
type Show struct {
	Key        string         `cbor:"k" json:"key"`
	Name       string         `cbor:"n" json:"name"`
	Owner      shoal.PeerID   `cbor:"o" json:"owner"`
	Code       string         `cbor:"c" json:"code"`
	Manifest   uint64         `cbor:"m" json:"manifest"` // number of the newest; 0: the genesis holds
	Leader     shoal.PeerID   `cbor:"l" json:"leader"`
	Keepers    []shoal.PeerID `cbor:"p" json:"keepers"`
	Replicas   int            `cbor:"r" json:"replicas"` // wanted
	Epoch      uint64         `cbor:"e" json:"epoch"`
	Generation uint64         `cbor:"g" json:"generation"`
	Turns      uint64         `cbor:"t" json:"turns"`
	Bytes      uint64         `cbor:"b" json:"state_bytes"`
	Timers     uint64         `cbor:"i" json:"timers"`
	Last       int64          `cbor:"a" json:"last_turn_ms"` // Unix milliseconds; 0: none yet
	Commit     uint64         `cbor:"x" json:"commit"`
	Seen       shoal.PeerID   `cbor:"s" json:"seen_by"`                    // who said so
	Recent     []Recent       `cbor:"q,omitempty" json:"recent,omitempty"` // turns on the leader, the oldest first
	Note       string         `cbor:"w,omitempty" json:"note,omitempty"`
	Located    []shoal.PeerID `cbor:"-" json:"located,omitempty"` // who the DHT says keeps it; see Located
}

// Recent is one of the last turns of an activation.
type Recent struct {
	At     int64   `cbor:"a" json:"at_ms"` // Unix milliseconds
	Method string  `cbor:"m" json:"method"`
	Caller string  `cbor:"c,omitempty" json:"caller,omitempty"`
	Took   float64 `cbor:"t" json:"ms"` // milliseconds, until it was durable
	Error  string  `cbor:"e,omitempty" json:"error,omitempty"`
}

const maxRecent = 8

// remember has what comes of a message noted among the last turns. The caller holds mu.
func (x *actor) remember(m *mail) {
	begun, done := x.a.cfg.Now(), m.done
	m.done = func(reply []byte, err error) {
		r := Recent{At: begun.UnixMilli(), Method: m.m.Method, Caller: m.caller, Took: float64(x.a.cfg.Now().Sub(begun).Microseconds()) / 1e3}
		if err != nil {
			r.Error = err.Error()
			r.Error = r.Error[:min(len(r.Error), 200)]
		}
		if len(x.recent) >= maxRecent {
			x.recent = append(x.recent[:0], x.recent[1:]...)
		}
		x.recent = append(x.recent, r)
		done(reply, err)
	}
}

// show describes the agent.
func (x *actor) show() (*Show, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead != nil {
		return nil, x.dead
	}
	m, err := turn.ReadMeta(x.state)
	if err != nil {
		return nil, err
	}
	s := x.g.Status()
	out := &Show{
		Key: KeyText(x.key), Name: x.genesis.Name, Owner: x.genesis.Owner, Code: x.program, Manifest: m.Manifest, Leader: s.Leader.Peer,
		Replicas: x.genesis.Replicas, Epoch: s.Epoch, Generation: s.Generation, Turns: m.Turns, Bytes: m.Bytes,
		Timers: m.Timers, Last: m.Time, Commit: s.Commit, Seen: x.a.Peers.Self(),
	}
	for _, k := range s.Conf.Members {
		if k.Role != group.Learner && k.Role != group.Incoming { // whose word counts only once the change is through
			out.Keepers = append(out.Keepers, k.Peer)
		}
	}
	out.Recent = slices.Clone(x.recent)
	out.Note = shortOf(out.Replicas, len(out.Keepers))
	return out, nil
}

// Located returns the peers that the DHT names as keepers of an agent, given by its key: whoever asks for a key that
// nobody near knows finds it so.
func (a *Agents) Located(ctx context.Context, key string) (list []shoal.PeerID) {
	k, _, _, err := parseAgent(key)
	if err != nil {
		return nil
	}
	for p, err := range a.Directory.Find(ctx, k, MaxReplicas) {
		if err == nil {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

func (a *Agents) onShow(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	x, err := a.get(shoal.Key(req))
	if err != nil {
		return nil, err
	}
	return encode(x.show())
}

// Show describes an agent, by key or name: as its leader sees it, if that answers.
func (a *Agents) Show(ctx context.Context, agent string) (*Show, error) {
	key, err := a.Resolve(ctx, agent)
	if err != nil {
		return nil, err
	}
	if at, ok := a.places.get(key); ok && len(at.Keepers) > 0 {
		if best, err := a.describe(ctx, key, at.Keepers); err == nil {
			return best, nil
		}
	}
	peers, err := a.locate(ctx, key) // what is remembered is nothing, or old
	if err != nil {
		return nil, err
	}
	best, err := a.describe(ctx, key, peers)
	return best, shoal.Wrap(shoal.Unavailable, "show "+agent, err)
}

// describe asks peers for what they know of an agent, and returns the best.
func (a *Agents) describe(ctx context.Context, key shoal.Key, peers []shoal.PeerID) (*Show, error) {
	type view struct {
		s   *Show
		err error
	}
	views := make(chan view, len(peers))
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range peers {
		a.work.Go(func() {
			s := &Show{}
			b, err := a.Peers.Ask(ask, p, "agents.show", []byte(key))
			if err == nil {
				err = wire.Unmarshal("description of an agent", b, s)
			}
			views <- view{s, err}
		})
	}
	var best *Show
	var err error
	for range peers {
		v := <-views
		if v.err != nil {
			err = v.err
		} else if best == nil || v.s.Epoch > best.Epoch || v.s.Seen == v.s.Leader && v.s.Epoch == best.Epoch {
			if best = v.s; best.Seen == best.Leader {
				return best, nil // nobody knows better
			}
		}
	}
	if best == nil {
		return nil, err
	}
	return best, nil
}

// errNowhere is behind the error that nobody is found who keeps an agent: it may be removed, or its keepers down.
var errNowhere = errors.New("no keeper is found")

// locate finds peers that keep an agent: this node, those that the directory names, and in a small fabric
// whoever says so when asked.
func (a *Agents) locate(ctx context.Context, key shoal.Key) ([]shoal.PeerID, error) {
	found := map[shoal.PeerID]bool{}
	if _, _, mark, err := a.store.glance(key); err == nil {
		for _, m := range mark.Conf.Members {
			found[m.Peer] = true
		}
	}
	if len(found) == 0 {
		a.askAround(ctx, key, found)
	}
	if len(found) == 0 {
		find, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		for p, err := range a.Directory.Find(find, key, MaxReplicas) {
			if err != nil {
				break
			}
			found[p] = true
		}
	}
	if len(found) == 0 {
		return nil, &shoal.Error{
			Kind: shoal.NotFound, What: "agent " + KeyText(key), Why: "nobody who was asked keeps it",
			Try: "if its keepers are down, bring one back", Err: errNowhere,
		}
	}
	list := make([]shoal.PeerID, 0, len(found))
	for p := range found {
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list, nil
}

// small is how many members are asked one by one.
const small = 32

func (a *Agents) askAround(ctx context.Context, key shoal.Key, found map[shoal.PeerID]bool) {
	var peers []shoal.PeerID
	for _, m := range a.Members.Table() {
		if m.State == shoal.Alive && len(peers) < small {
			peers = append(peers, m.ID)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ch := make(chan *place, len(peers))
	for _, p := range peers {
		a.work.Go(func() {
			var at place
			b, err := a.Peers.Ask(ctx, p, "agents.where", []byte(key))
			if err != nil || wire.Unmarshal("place of an agent", b, &at) != nil {
				ch <- nil
				return
			}
			ch <- &at
		})
	}
	for range peers {
		if at := <-ch; at != nil && len(at.Keepers) > 0 {
			for _, k := range at.Keepers {
				found[k] = true
			}
			return // a keeper knows the others
		}
	}
}

// onWhere tells what this keeper knows of an agent's place, without waking it.
func (a *Agents) onWhere(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	key := shoal.Key(req)
	a.mu.Lock()
	x := a.awake[key]
	a.mu.Unlock()
	if x != nil && !x.gone() {
		x.mu.Lock()
		defer x.mu.Unlock()
		return wire.Marshal(x.place()), nil
	}
	rec, term, mark, err := a.store.glance(key)
	if err != nil {
		return nil, err
	}
	p := place{Order: order{rec.Generation, mark.Conf.Index, term}}
	for _, m := range mark.Conf.Members {
		p.Keepers = append(p.Keepers, m.Peer)
	}
	return wire.Marshal(p), nil
}
