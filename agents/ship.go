package agents

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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

// onShip takes a state in, as a new keeper or one that was too far behind. Until it is whole this node keeps
// nothing that anybody could take for the agent's: its record goes first, and comes back last.
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
	had, err := a.hold(key)
	if err != nil {
		return err
	}
	defer a.letGo(key)
	if had != nil {
		had.evict(shoal.E(shoal.Unavailable, "agent "+KeyText(key), "its state is being replaced", "ask another keeper"))
	}
	if err := a.takeIn(key, head, s); err != nil {
		return err
	}
	if err := a.Directory.Provide(a.ctx, a.placesOf(g, key)...); err != nil {
		a.cfg.Log.Warn("agents: announce", "err", err)
	}
	return errors.Join(wire.WriteFrame(s, []byte("kept"), 16), s.CloseWrite())
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

// takeIn replaces what is on disk of a group.
func (a *Agents) takeIn(key shoal.Key, head consignment, s io.Reader) error {
	var st group.Stored
	rec, old, err := a.store.load(key)
	switch {
	case err == nil && rec.Generation == head.Generation:
		if old.Mark.Index >= head.Mark.Index {
			return nil // it has all of it already
		}
		if st, err = old.Restored(head.Mark); err != nil {
			return err
		}
	case err == nil && rec.Generation > head.Generation:
		return shoal.E(shoal.Refused, "agent "+KeyText(key), "this node keeps a later generation", "")
	case err != nil && shoal.KindOf(err) != shoal.NotFound && shoal.KindOf(err) != shoal.Corrupt:
		return err
	case err != nil && rec.Restoring: // an earlier try broke off: its votes are there
		if st, err = a.store.votes(key, rec); err == nil {
			st, err = st.Restored(head.Mark)
		}
		if err != nil {
			return err
		}
	default: // also of one that was damaged: only a new member is told to learn
		if st, err = a.join(key, head); err != nil {
			return err
		}
	}
	data := groupKey(key, partData)
	// The votes stay, under a record that says that there is no state.
	begin := []shoal.Write{
		{Key: indexKey(key), Value: wire.Marshal(record{Genesis: head.Genesis, Generation: head.Generation, Restoring: true})},
		{Key: data, Delete: true, End: next(data)},
	}
	if err := a.writer.commit(a.ctx, begin); err != nil { // after what the group had on its way to the disk
		return err
	}
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
			batch[i] = shoal.Write{Key: append(groupKey(key, partData), kv[0]...), Value: kv[1]}
		}
		if err := a.Table.Commit(false, batch...); err != nil {
			return err
		}
		total += uint64(len(p.Pairs))
		if p.End && p.Total != total {
			return shoal.E(shoal.Corrupt, "state of an agent", fmt.Sprintf("%d of %d pairs came", total, p.Total), "")
		}
		if p.End {
			break
		}
	}
	return a.Table.Commit(true, a.store.all(key, record{Genesis: head.Genesis, Generation: head.Generation}, st)...)
}
