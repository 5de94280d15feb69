package agents

import (
	"context"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

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
	Needs      string         `cbor:"d,omitempty" json:"needs,omitempty"`  // what keepers must fulfil
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
		Replicas: x.genesis.Replicas, Needs: x.genesis.Needs, Epoch: s.Epoch, Generation: s.Generation, Turns: m.Turns, Bytes: m.Bytes,
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
	at, err := a.locate(ctx, key, true) // what is remembered is nothing, or old
	if err != nil {
		return nil, err
	}
	best, err := a.describe(ctx, key, at.Keepers)
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
