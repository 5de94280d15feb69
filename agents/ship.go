package agents

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/wire"
)

// consignment is what comes before a shipped state.
type consignment struct {
	Genesis    []byte     `cbor:"g"`
	Generation uint64     `cbor:"r"`
	Mark       group.Mark `cbor:"m"`
	Code       string     `cbor:"c"` // in force
}

// parcelOf is a piece of a shipped state, or its end.
type piece struct {
	Pairs [][2][]byte `cbor:"p,omitempty"`
	End   bool        `cbor:"e,omitempty"`
	Total uint64      `cbor:"n,omitempty"` // at the end: pairs in all
}

const (
	pieceBytes = 512 << 10
	shipTime   = 10 * time.Minute // a state of 1 GiB over a slow link
)

// ship sends the agent's applied state to a member that is new, or too far behind. The caller holds mu: what is
// sent is the state as it is now.
func (x *actor) ship(to group.Member) {
	head := consignment{Genesis: x.rec.Genesis, Generation: x.rec.Generation, Mark: x.mark, Code: x.program}
	snap, err := x.a.Table.Snapshot()
	if err != nil {
		x.a.work.Go(func() { x.shipped(to, 0, err) })
		return
	}
	x.a.work.Go(func() {
		ctx, cancel := context.WithTimeout(x.a.ctx, shipTime)
		defer cancel()
		err := x.send(ctx, to.Peer, head, snap)
		x.shipped(to, head.Mark.Index, errors.Join(err, snap.Close()))
	})
}

// shipped tells the group that a member has the state up to index on its disk, or has not.
func (x *actor) shipped(to group.Member, index uint64, err error) {
	if err != nil {
		index = 0
		x.a.cfg.Log.Warn("agent: its state did not reach a keeper", "agent", x.genesis.Name, "peer", to.Peer.Short(), "err", err)
	}
	x.event(func(g *group.Group, now group.Instant) { g.Shipped(now, to.ID, index) })
}

func (x *actor) send(ctx context.Context, to shoal.PeerID, head consignment, snap shoal.Snapshot) error {
	s, err := x.a.Peers.Open(ctx, to, "agents.ship", wire.Marshal(head))
	if err != nil {
		return err
	}
	defer s.Reset()
	w := bufio.NewWriterSize(s, 64<<10)
	var p piece
	size, total := 0, uint64(0)
	prefix := x.state.prefix
	for pair, err := range snap.Scan(prefix, next(prefix)) {
		if err != nil {
			return err
		}
		p.Pairs = append(p.Pairs, [2][]byte{pair.Key[len(prefix):], pair.Value})
		total++
		if size += len(pair.Key) + len(pair.Value); size >= pieceBytes {
			if err := wire.WriteFrame(w, wire.Marshal(p), wire.MaxFrame); err != nil {
				return err
			}
			p.Pairs, size = nil, 0
		}
	}
	p.End, p.Total = true, total
	if err := wire.WriteFrame(w, wire.Marshal(p), wire.MaxFrame); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), s.CloseWrite()); err != nil {
		return err
	}
	answer, err := wire.ReadFrame(bufio.NewReader(s), 16)
	if err == nil && string(answer) != "kept" {
		err = shoal.E(shoal.Internal, "state of an agent", "an unexpected answer", "")
	}
	return err
}

// onShip takes a state in, as a new keeper or one that was too far behind. Until it is whole it lies beside what this node
// has of the agent, which goes on counting: whoever ships may be gone before the end, and then this keeper's vote is needed.
func (a *Agents) onShip(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
	var head consignment
	if err := wire.Unmarshal("state of an agent", req, &head); err != nil {
		return err
	}
	g, key, _, err := openGenesis(a.Members.Fabric(), head.Genesis)
	if err != nil {
		return err
	}
	if gone, err := a.store.gone(key); err != nil || gone {
		if err == nil {
			err = shoal.E(shoal.Refused, "agent "+KeyText(key), "it was removed", "")
		}
		return err
	}
	defer context.AfterFunc(ctx, s.Reset)()
	if head.Code == DirectoryCode != (g.Code == DirectoryCode) {
		return shoal.E(shoal.Invalid, "agent "+KeyText(key), "its code is another than it can be", "")
	}
	if err := a.keepCode(ctx, head.Code, from); err != nil {
		return err
	}
	in := &intake{stop: s.Reset, over: make(chan struct{})}
	if err := a.expect(ctx, key, in); err != nil {
		return err
	}
	defer a.expected(key, in)
	if err := a.takeIn(key, head, s); err != nil {
		return err
	}
	if err := a.Directory.Provide(a.ctx, a.placesOf(g, key)...); err != nil {
		a.cfg.Log.Warn("agents: announce", "err", err)
	}
	return errors.Join(wire.WriteFrame(s, []byte("kept"), 16), s.CloseWrite())
}

// intake is a state on its way to this node.
type intake struct {
	stop func()
	over chan struct{} // closed at the end
}

// expect has one state of an agent taken in at a time, until expected. Who comes later is right: a leader ships to a
// keeper once, so the one before may have stopped in the midst of it, without a word.
func (a *Agents) expect(ctx context.Context, key shoal.Key, in *intake) error {
	for {
		a.mu.Lock()
		old := a.coming[key]
		if old == nil {
			a.coming[key] = in
			a.mu.Unlock()
			return nil
		}
		a.mu.Unlock()
		old.stop()
		select {
		case <-old.over:
		case <-ctx.Done():
			return shoal.Wrap(shoal.Unavailable, "agent "+KeyText(key), ctx.Err())
		}
	}
}

func (a *Agents) expected(key shoal.Key, in *intake) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.coming, key)
	close(in.over)
}

// hold keeps a group from being brought into memory, until letGo; it returns the one that is there.
func (a *Agents) hold(key shoal.Key) (*actor, error) {
	for {
		a.mu.Lock()
		wait := a.loading[key]
		if wait == nil {
			break
		}
		a.mu.Unlock()
		<-wait
	}
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil, closing()
	case a.held[key]:
		return nil, shoal.E(shoal.Unavailable, "agent "+KeyText(key), "its state is being replaced here", "try again")
	}
	a.held[key] = true
	return a.awake[key], nil
}

func (a *Agents) letGo(key shoal.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, key)
	delete(a.sick, key) // a new state is a new chance
}

// join returns the first state of this node as a new member.
func (a *Agents) join(key shoal.Key, head consignment) (group.Stored, error) {
	self, ok := group.Stored{Mark: head.Mark}.Self(group.Keeper{Peer: a.Peers.Self(), Store: a.store.name})
	if !ok {
		return group.Stored{}, shoal.E(shoal.Refused, "state of an agent", "this node is none of its keepers", "")
	}
	was, err := a.store.removed(key)
	if err == nil && self <= was {
		err = shoal.E(shoal.Refused, "state of an agent", "it was sent to a keeper that was removed since", "")
	}
	if err != nil {
		return group.Stored{}, err
	}
	return group.Joined(head.Generation, head.Mark, self)
}

// takeIn receives a state and puts it in the place of what is on disk of a group.
func (a *Agents) takeIn(key shoal.Key, head consignment, s io.Reader) error {
	rec, _, err := a.follows(key, head)
	if errors.Is(err, errHas) {
		_, err = io.Copy(io.Discard, s)
		return err
	}
	if err != nil {
		return err
	}
	slot := rec.Slot
	if len(rec.Genesis) > 0 {
		slot ^= 1
	}
	data := dataKey(key, slot)
	clear := shoal.Write{Key: data, Delete: true, End: next(data)} // also what an earlier try has left
	err = a.Table.Commit(false, clear)
	if err == nil {
		err = a.receive(data, s)
	}
	if err == nil {
		err = a.replace(key, head, slot, len(rec.Genesis) > 0)
	}
	if err != nil && len(rec.Genesis) == 0 { // nobody may try again
		_ = a.Table.Commit(false, clear)
	}
	if errors.Is(err, errHas) {
		return nil
	}
	return err
}

// errHas says that a node has all of a state that is offered.
var errHas = errors.New("it has all of that state")

// receive writes the pieces of a state under a prefix.
func (a *Agents) receive(prefix []byte, s io.Reader) error {
	r := bufio.NewReaderSize(s, 64<<10)
	total := uint64(0)
	for {
		b, err := wire.ReadFrame(r, wire.MaxFrame)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		var p piece
		if err := wire.Unmarshal("state of an agent", b, &p); err != nil {
			return err
		}
		batch := make([]shoal.Write, len(p.Pairs))
		for i, kv := range p.Pairs {
			batch[i] = shoal.Write{Key: slices.Concat(prefix, kv[0]), Value: kv[1]}
		}
		if err := a.Table.Commit(false, batch...); err != nil {
			return err
		}
		total += uint64(len(p.Pairs))
		if p.End && p.Total != total {
			return shoal.E(shoal.Corrupt, "state of an agent", fmt.Sprintf("%d of %d pairs came", total, p.Total), "")
		}
		if p.End {
			return nil
		}
	}
}

// replace makes the state in a slot the one that counts, at once with all that belongs to it. kept says whether this node kept the group when the
// state began to come: what ended that meanwhile has taken a part of it along.
func (a *Agents) replace(key shoal.Key, head consignment, slot byte, kept bool) error {
	had, err := a.hold(key)
	if err != nil {
		return err
	}
	defer a.letGo(key)
	if had != nil { // what it has on its way to the disk was promised to nobody
		had.evict(shoal.E(shoal.Unavailable, "agent "+KeyText(key), "its state is being replaced", "ask another keeper"))
	}
	if err := a.writer.commit(a.ctx, nil); err != nil { // what is on its way to the disk of it comes first
		return err
	}
	rec, st, err := a.follows(key, head)
	if err != nil {
		return err
	}
	if len(rec.Genesis) == 0 && kept {
		data := dataKey(key, slot)
		_ = a.Table.Commit(false, shoal.Write{Key: data, Delete: true, End: next(data)}) // else the next state that comes clears it
		return shoal.E(shoal.Unavailable, "agent "+KeyText(key), "this node left it meanwhile", "send its state again")
	}
	if len(rec.Genesis) > 0 && rec.Slot == slot {
		return shoal.E(shoal.Unavailable, "agent "+KeyText(key), "its state was replaced meanwhile", "try again")
	}
	old := dataKey(key, slot^1)
	batch := a.store.all(key, record{Genesis: head.Genesis, Generation: head.Generation, Slot: slot}, st)
	return a.writer.commit(a.ctx, append(batch, shoal.Write{Key: old, Delete: true, End: next(old)}))
}

// follows returns what this node has of a group, and what it will have with a state that is offered, which may be nothing
// new (errHas).
func (a *Agents) follows(key shoal.Key, head consignment) (record, group.Stored, error) {
	rec, st, err := a.store.load(key)
	switch {
	case err == nil && rec.Generation > head.Generation:
		err = shoal.E(shoal.Refused, "agent "+KeyText(key), "this node keeps a later generation", "")
	case err == nil && rec.Generation == head.Generation && st.Mark.Index >= head.Mark.Index:
		err = errHas
	case err == nil && rec.Generation == head.Generation:
		st, err = st.Restored(head.Mark)
	case err != nil && shoal.KindOf(err) != shoal.NotFound && shoal.KindOf(err) != shoal.Corrupt:
	default: // also of one that was damaged: only a new member is told to learn
		st, err = a.join(key, head)
	}
	return rec, st, err
}
