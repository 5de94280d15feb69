package members

import (
	"context"
	"slices"
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// Leave ends this node's membership: it says goodbye to all members in contact, and forgets the
// fabric when one of them has heard it, or when there is nobody left to hear it. Drain the node
// first. With Unavailable nobody heard it and the node is still a member.
func (m *Members) Leave(ctx context.Context) error {
	connected := m.net.Connected()
	m.mu.Lock()
	if err := m.standing(); err != nil {
		m.mu.Unlock()
		return shoal.Wrap(shoal.Refused, "leave", err)
	}
	now := m.now()
	d := view.Departure{Fabric: m.st.Fabric, Subject: m.self, Life: m.life, At: now.UnixMilli()}
	it := view.Item{Kind: view.KindDeparture, Fact: d.Seal(m.cfg.Key)}
	expected := slices.ContainsFunc(m.view.Members(now), func(r shoal.Member) bool {
		return r.ID != m.self && r.State != shoal.Down
	})
	targets := m.view.Targets(connected, m.cfg.Mesh, m.rand)
	m.mu.Unlock()
	if heard := m.goodbye(ctx, it, targets); heard == 0 && expected {
		return shoal.E(shoal.Unavailable, "leave", "no member heard the goodbye",
			"try again, or stop this node and have a member forget it: shoal forget "+string(m.self))
	}
	if err := m.kv.Delete(stateKey); err != nil {
		return shoal.Wrap(shoal.Internal, "leave", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.st = nil
	clear(m.verdicts)
	clear(m.unsaved)
	for _, prefix := range []string{peerKey, goneKey} {
		for key := range m.kv.Scan(prefix) {
			if err := m.kv.Delete(key); err != nil {
				m.cfg.Log.Warn("members: cannot delete a row", "key", key, "error", err)
			}
		}
	}
	return nil
}

// goodbye tells targets, and returns how many heard.
func (m *Members) goodbye(ctx context.Context, it view.Item, targets []shoal.PeerID) (heard int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range targets {
		all.Go(func() {
			var r struct{}
			if err := m.call(ctx, p, "members.bye", it, &r); err == nil {
				mu.Lock()
				heard++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return heard
}

// onBye takes the goodbye of a member.
func (m *Members) onBye(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var it view.Item
	if err := wire.Unmarshal("members.bye", req, &it); err != nil {
		return nil, err
	}
	if it.Kind != view.KindDeparture || it.Fact.Signer != from {
		return nil, shoal.E(shoal.Invalid, "members.bye", "it is no goodbye of the peer itself", "")
	}
	if _, err := m.take(from, []view.Item{it}); err != nil {
		return nil, err
	}
	// The peer forgets the fabric once it has this reply, so nobody else may ever say it again.
	if err := m.kv.Set(goneKey+string(from), wire.Marshal(known{it, m.now().UnixMilli()})); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "members.bye", err)
	}
	return wire.Marshal(struct{}{}), nil
}

// Forget declares p dead for good: its membership ends everywhere, as fast as news spread, and it is
// cut off. It may join anew. Forget has been written to disk when it returns nil. NotFound: no such
// member is known.
func (m *Members) Forget(ctx context.Context, p shoal.PeerID) error {
	what := "forget " + p.Short()
	if _, err := capability.PublicKey(p); err != nil {
		return err
	}
	if p == m.self {
		return shoal.E(shoal.Invalid, what, "this is this node itself", "use 'shoal leave'")
	}
	if err := ctx.Err(); err != nil {
		return shoal.Wrap(shoal.Canceled, what, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return shoal.Wrap(shoal.Refused, what, err)
	}
	now := m.now()
	last := m.view.LastLife(p)
	if v, ok := m.verdicts[p]; ok {
		last = max(last, v.life)
	}
	if _, d, gone := m.view.Barred(p, last); gone && d.Forgotten {
		return nil
	}
	if last == 0 && m.cfg.Table {
		return shoal.E(shoal.NotFound, what, "no member with this ID is known", "see 'shoal peers'")
	}
	d := view.Departure{
		Fabric: m.st.Fabric, Subject: p, Life: max(last, uint64(now.UnixMilli())), Forgotten: true,
		At: now.UnixMilli(), Chain: m.st.Chain,
	}
	it := view.Item{Kind: view.KindDeparture, Fact: d.Seal(m.cfg.Key)}
	if err := m.kv.Set(goneKey+string(p), wire.Marshal(known{it, d.At})); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	if _, err := m.view.Offer(it, true, now); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	m.unsaved[p] = true
	m.stir()
	return nil
}
