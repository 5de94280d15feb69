package members

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// Bounds of one message.
const (
	pushBytes = 48 << 10
	pullBytes = 256 << 10
	pageMarks = 2048
	maxItems  = 4096
	maxRounds = 64 // pages of one pull
)

// push carries news, none when it is only a question whether the peer is there.
type push struct {
	Items []view.Item `cbor:"i,omitempty"`
}

// pushReply says which items were no news: bit i of byte i/8 stands for item i.
type pushReply struct {
	Known []byte `cbor:"k,omitempty"`
}

// pull asks for what the asker lacks. First with its checksum alone; where that differs, with a
// digest of a range of keys.
type pull struct {
	Sum    uint64      `cbor:"s"`
	Digest bool        `cbor:"d,omitempty"`
	From   uint64      `cbor:"f,omitempty"`
	To     uint64      `cbor:"t,omitempty"`
	Marks  []view.Mark `cbor:"m,omitempty"`
}

type pullReply struct {
	Same  bool        `cbor:"s,omitempty"`
	Items []view.Item `cbor:"i,omitempty"`
	Want  []uint64    `cbor:"w,omitempty"` // rows that the replier would like pushed
	More  bool        `cbor:"m,omitempty"` // items were left out: ask for this range again
}

// fromMember wraps handlers: the gate has admitted the asker, but may have done so before it
// departed.
func (m *Members) fromMember(h shoal.Handler) shoal.Handler {
	return func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
		if err := m.Standing(); err != nil {
			return nil, err
		}
		if !m.Known(from) {
			if err := m.Admit(ctx, from); err != nil {
				return nil, err
			}
		}
		return h(ctx, from, req)
	}
}

// take merges items that a member sent, and returns which were known. The first malformed one ends
// it: the sender is broken. What another signed and cannot be is that one's fault, and passed over as if known, so
// that who hands it on, and may judge it otherwise, is not cut off.
func (m *Members) take(from shoal.PeerID, items []view.Item) (known []byte, err error) {
	if len(items) > maxItems {
		return nil, shoal.E(shoal.Invalid, "member news", "too many at once", "")
	}
	known = make([]byte, (len(items)+7)/8)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return nil, m.standing()
	}
	now := m.now()
	for i, it := range items {
		news, err := m.view.Offer(it, it.Kind == view.KindRecord && it.Fact.Signer == from, now)
		switch k := shoal.KindOf(err); {
		case err == nil || k == shoal.Full:
		case k == shoal.Invalid && it.Kind == view.KindRecord:
			m.refuse(it.Fact.Signer, err, now)
			if it.Fact.Signer == from {
				return nil, err
			}
		default:
			return nil, err
		}
		if !news {
			known[i/8] |= 1 << (i % 8)
		}
	}
	m.checkSelf()
	if len(items) > 0 {
		m.stir()
	}
	return known, nil
}

// refuseEvery is the time between two warnings about the records of one member.
const refuseEvery = time.Hour

// refuse says that a record of p, signed by p, is not taken. m.mu is held.
func (m *Members) refuse(p shoal.PeerID, err error, now time.Time) {
	if last, ok := m.refused[p]; ok && now.Sub(last) < refuseEvery && !now.Before(last) {
		return
	}
	if len(m.refused) >= 1024 {
		clear(m.refused)
	}
	m.refused[p] = now
	m.cfg.Log.Warn("members: a record is refused", "peer", p, "err", err)
}

func (m *Members) onPush(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var p push
	if err := wire.Unmarshal("members.push", req, &p); err != nil {
		return nil, err
	}
	known, err := m.take(from, p.Items)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(pushReply{known}), nil
}

func (m *Members) onPull(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	var p pull
	if err := wire.Unmarshal("members.pull", req, &p); err != nil {
		return nil, err
	}
	if len(p.Marks) > pageMarks {
		return nil, shoal.E(shoal.Invalid, "members.pull", "the digest is too long", "")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return nil, err
	}
	var r pullReply
	if r.Same = m.view.Sum() == p.Sum; !r.Same && p.Digest {
		r.Items, r.Want, r.More = m.view.Compare(p.From, p.To, p.Marks, pullBytes, m.now())
	}
	return wire.Marshal(r), nil
}

func (m *Members) onRecord(_ context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
	m.refresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return nil, err
	}
	it, ok := m.view.Item(m.self, m.now())
	if !ok {
		return nil, shoal.E(shoal.Unavailable, "members.record", "this node has no record yet", "")
	}
	return wire.Marshal(it), nil
}

// call asks p something small and notes what that says about its health. An answer, whatever it
// says, is one; a refusal may come from the gate on the way, and says nothing.
func (m *Members) call(ctx context.Context, p shoal.PeerID, method string, req, reply any) error {
	m.mu.Lock()
	peers := m.peers
	m.mu.Unlock()
	if peers == nil {
		return shoal.E(shoal.Unavailable, method, "this node is still starting", "")
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.AskTimeout)
	defer cancel()
	b, err := peers.Ask(ctx, p, method, wire.Marshal(req))
	if err == nil {
		err = wire.Unmarshal(method, b, reply)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.view == nil {
		return err
	}
	switch shoal.KindOf(err) {
	case shoal.Refused:
		if err != nil {
			delete(m.verdicts, p)
			m.ask(ctx, p) // at the door it will say why
			return err
		}
	case shoal.Unavailable, shoal.Timeout, shoal.Canceled, shoal.Internal:
		if err != nil {
			m.view.Failed(p, m.rand, m.now())
			return err
		}
	}
	m.view.Contact(p, m.now())
	return err
}

// tell pushes news to p, or only asks whether it is there.
func (m *Members) tell(ctx context.Context, p shoal.PeerID, news bool) {
	m.mu.Lock()
	var items []view.Item
	if news {
		items = m.view.News(pushBytes, m.now())
	}
	n, seq := len(items), m.seq
	if own, ok := m.view.Item(m.self, m.now()); ok && !m.cfg.Table && m.told[p] != seq {
		items = append(items, own) // no gossip carries it, so each peer in contact gets it from here
	}
	m.mu.Unlock()
	var r pushReply
	err := m.call(ctx, p, "members.push", push{items}, &r)
	if err != nil {
		m.cfg.Log.Debug("members: push", "peer", p, "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.told[p] = seq
		m.view.Settle(items[:n], r.Known)
	case shoal.KindOf(err) == shoal.Invalid:
		m.view.Settle(items[:n], nil) // it will not get better by saying it for ever
	}
}

// fetch pulls from p what this node lacks, and pushes what p lacks.
func (m *Members) fetch(ctx context.Context, p shoal.PeerID) error {
	m.mu.Lock()
	q := pull{Sum: m.view.Sum()}
	m.mu.Unlock()
	var r pullReply
	if err := m.call(ctx, p, "members.pull", q, &r); err != nil || r.Same {
		return err
	}
	var from uint64
	for range maxRounds {
		m.mu.Lock()
		q = pull{Sum: m.view.Sum(), Digest: true, From: from}
		q.Marks, q.To = m.view.Digest(from, pageMarks)
		m.mu.Unlock()
		r = pullReply{}
		if err := m.call(ctx, p, "members.pull", q, &r); err != nil || r.Same {
			return err
		}
		known, err := m.take(p, r.Items)
		if err != nil {
			return err
		}
		if err := m.supply(ctx, p, r.Want); err != nil {
			return err
		}
		if r.More && fresh(known, len(r.Items)) {
			continue
		}
		if q.To == 1<<64-1 {
			return nil
		}
		from = q.To + 1
	}
	return nil
}

// fresh reports whether any of n items was news: a peer that sends the same again and again must not
// keep this node in a loop.
func fresh(known []byte, n int) bool {
	for i := range n {
		if known[i/8]>>(i%8)&1 == 0 {
			return true
		}
	}
	return false
}

// supply pushes the rows that p wants.
func (m *Members) supply(ctx context.Context, p shoal.PeerID, want []uint64) error {
	for len(want) > 0 {
		n := min(len(want), 64)
		m.mu.Lock()
		items := m.view.Rows(want[:n], pullBytes, m.now())
		m.mu.Unlock()
		want = want[n:]
		if len(items) == 0 {
			continue
		}
		var r pushReply
		if err := m.call(ctx, p, "members.push", push{items}, &r); err != nil {
			return err
		}
	}
	return nil
}

// hush returns how long a peer may stay unasked.
func (m *Members) hush() time.Duration { return m.cfg.Gossip * 3 / 2 }
