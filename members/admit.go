package members

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	helloLimit  = 8 * time.Second // for one exchange of credentials
	maxVerdicts = 8192
	longChain   = 4 // links from which on a peer nearer to the root shortens a chain
)

// verdict is what is remembered of a peer's credential.
type verdict struct {
	err   error // nil: a member
	life  uint64
	since time.Time
	until time.Time
}

// question is an exchange of credentials under way; done is closed when the errors are set.
type question struct {
	done    chan struct{}
	err     error // how it went
	verdict error // what is to be thought of the peer: an old verdict outlives a question without answer
}

// hello is what two peers say to one another at the door before anything else.
// The asker's record is not in it: who does not prove to be a member learns no more than the chain.
type hello struct {
	Fabric string           `cbor:"f"`
	Chain  capability.Chain `cbor:"c"`
	Sent   int64            `cbor:"t"` // unix milliseconds, by the asker's clock
}

type helloReply struct {
	Chain  capability.Chain `cbor:"c,omitempty"`
	Record *view.Item       `cbor:"r,omitempty"`
	Got    int64            `cbor:"g,omitempty"` // when the request came and the reply went, by the replier's clock
	Sent   int64            `cbor:"t,omitempty"`
	Gone   *view.Item       `cbor:"x,omitempty"` // the asker is no member any more; nothing else is said
	Renew  capability.Chain `cbor:"n,omitempty"` // a shorter credential for the asker
}

// Admit is the gate: nil means that p is a member of this node's fabric. The first time, and when a
// verdict has expired, it asks p at the door, and shows p this node's own credential; callers that
// ask about one peer at one time share the answer. The error is Refused if p is no member, else
// p could not be asked.
func (m *Members) Admit(ctx context.Context, p shoal.PeerID) error {
	m.mu.Lock()
	if err := m.standing(); err != nil {
		m.mu.Unlock()
		return err
	}
	if p == m.self {
		m.mu.Unlock()
		return nil
	}
	now := m.now()
	v, known := m.verdicts[p]
	if known && v.err == nil {
		if _, d, barred := m.view.Barred(p, v.life); barred {
			delete(m.verdicts, p)
			m.mu.Unlock()
			return departedError(p, d)
		}
	}
	if known && now.Before(v.until) {
		if v.err == nil && v.until.Sub(now) < m.cfg.Trust/3 {
			m.ask(ctx, p) // renews the verdict while it still holds
		}
		m.mu.Unlock()
		return v.err
	}
	q := m.ask(ctx, p)
	m.mu.Unlock()
	if err := q.wait(ctx, p); err != nil {
		return err
	}
	return q.verdict
}

// greet has a new connection begin with an exchange of credentials, also when there is a verdict from
// before: the peer may have none of this node any more, or one against it.
func (m *Members) greet(ctx context.Context, p shoal.PeerID) error {
	m.mu.Lock()
	if v, ok := m.verdicts[p]; ok && v.err != nil && m.now().Before(v.until) {
		m.mu.Unlock()
		return v.err
	}
	q := m.ask(ctx, p)
	m.mu.Unlock()
	if err := q.wait(ctx, p); err != nil {
		return err
	}
	return q.err
}

// wait waits for the answer; its error is that of ctx.
func (q *question) wait(ctx context.Context, p shoal.PeerID) error {
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return shoal.Wrap(shoal.Canceled, "admission of "+p.Short(), ctx.Err())
	}
}

// ask starts an exchange of credentials with p unless one is under way. m.mu is held. The exchange
// outlives ctx, since others may come to wait for it.
func (m *Members) ask(ctx context.Context, p shoal.PeerID) *question {
	if q := m.asking[p]; q != nil {
		return q
	}
	q := &question{done: make(chan struct{})}
	m.asking[p] = q
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), helloLimit)
	asked := m.now()
	go func() {
		defer cancel()
		err := m.hello(ctx, p)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.asking, p)
		q.err, q.verdict = err, err
		no := shoal.KindOf(err) == shoal.Refused || shoal.KindOf(err) == shoal.Invalid
		now := m.now()
		if v, ok := m.verdicts[p]; ok && v.err == nil && (v.since.After(asked) || now.Before(v.until) && !no) {
			// It showed its own credential meanwhile: it joined while an answer from before was on its way. Or the old
			// verdict still holds.
			q.verdict = nil
		}
		if q.verdict != nil {
			hold := m.cfg.Distrust
			if !no {
				hold /= 10 // it could not be asked: worth another try soon
			}
			m.decide(p, verdict{err: err, since: now, until: now.Add(hold)})
		}
		close(q.done)
	}()
	return q
}

// passing reports whether p is a peer that this node need not get to know: it has no table, p is new, and enough members are in contact.
// Most connections of a large fabric are made for one question of the DHT. Telling, asking and watching each of those peers cost
// more than the questions did.
func (m *Members) passing(p shoal.PeerID) bool {
	if m.cfg.Table {
		return false
	}
	connected := m.net.Connected()
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.view.Has(p) && m.view.Present(connected, m.cfg.Mesh) >= m.cfg.Mesh
}

// decide notes a verdict. m.mu is held.
func (m *Members) decide(p shoal.PeerID, v verdict) {
	if len(m.verdicts) >= maxVerdicts {
		now := m.now()
		for q, old := range m.verdicts {
			if old.err != nil || now.After(old.until) {
				delete(m.verdicts, q)
			}
		}
	}
	m.verdicts[p] = v
}

// hello asks p for its credential and shows this node's.
func (m *Members) hello(ctx context.Context, p shoal.PeerID) error {
	what := "admission of " + p.Short()
	m.mu.Lock()
	if err := m.standing(); err != nil {
		m.mu.Unlock()
		return err
	}
	st := *m.st
	m.mu.Unlock()
	sent := m.now()
	b, err := m.door.AskDoor(ctx, p, "hello", wire.Marshal(hello{st.Fabric, st.Chain, sent.UnixMilli()}))
	if err != nil {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	back := m.now()
	var r helloReply
	if err := wire.Unmarshal(what, b, &r); err != nil {
		return err
	}
	if r.Gone != nil {
		return m.dismissed(p, *r.Gone)
	}
	if r.Record == nil {
		return shoal.E(shoal.Invalid, what, "it sent no record", "check that both nodes run the same version of shoal")
	}
	life, err := m.judge(p, st.Fabric, r.Chain, r.Record)
	if err != nil {
		return shoal.Wrap(shoal.Refused, what, err)
	}
	m.mu.Lock()
	m.skews[p] = (time.UnixMilli(r.Got).Sub(sent) + time.UnixMilli(r.Sent).Sub(back)) / 2
	m.view.Contact(p, back)
	m.mu.Unlock()
	m.renew(st, r.Renew)
	m.cfg.Log.Debug("members: admitted", "peer", p, "life", life)
	return nil
}

// judge verifies the credential that p showed, and its record if it showed one, and keeps both.
func (m *Members) judge(p shoal.PeerID, fabric string, chain capability.Chain, it *view.Item) (life uint64, err error) {
	g, err := chain.Verify(fabric, p, capability.RoleMember, m.now())
	if err != nil {
		return 0, err
	}
	if life, err = lifeOf(g); err != nil {
		return 0, err
	}
	if it != nil && (it.Kind != view.KindRecord || it.Fact.Signer != p) {
		return 0, shoal.E(shoal.Invalid, "record of "+p.Short(), "it is about somebody else", "")
	}
	passing := it != nil && m.passing(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if err := m.standing(); err != nil || m.st.Fabric != fabric {
		return 0, shoal.E(shoal.Refused, "membership", "this node has changed its fabric", "")
	}
	if _, d, barred := m.view.Barred(p, life); barred {
		return 0, departedError(p, d)
	}
	if it != nil && !passing {
		_, err := m.view.Offer(view.Item{Kind: it.Kind, Fact: it.Fact}, true, now) // of no age: it speaks for itself
		if err != nil && shoal.KindOf(err) != shoal.Full {
			return 0, err
		}
	}
	m.decide(p, verdict{life: life, since: now, until: now.Add(m.cfg.Trust)})
	m.stir()
	return life, nil
}

// onHello answers a peer that shows its credential.
func (m *Members) onHello(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	got := m.now()
	var h hello
	if err := wire.Unmarshal("hello", req, &h); err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.st == nil {
		m.mu.Unlock()
		return nil, shoal.E(shoal.Refused, "hello", "this node is in no fabric", "")
	}
	st, standing := *m.st, m.standing()
	m.mu.Unlock()
	if h.Fabric != st.Fabric {
		return nil, shoal.E(shoal.Refused, "hello", "this node is in another fabric", "")
	}
	if standing != nil {
		return nil, shoal.E(shoal.Refused, "hello", "this node is no member any more", "")
	}
	life, err := m.judge(from, st.Fabric, h.Chain, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if it, ok := m.barredChain(from, st.Fabric, h.Chain); ok {
			return wire.Marshal(helloReply{Gone: &it}), nil
		}
		return nil, err
	}
	if _, ok := m.skews[from]; !ok { // coarse: the way here is in it; its own hello measures better
		m.skews[from] = time.UnixMilli(h.Sent).Sub(got)
	}
	own, _ := m.view.Item(m.self, m.now())
	r := helloReply{Chain: st.Chain, Record: &own, Got: got.UnixMilli(), Sent: m.now().UnixMilli()}
	if len(h.Chain) > longChain && len(h.Chain) > len(st.Chain)+1 {
		r.Renew, _ = m.grant(from, life)
	}
	return wire.Marshal(r), nil
}

// barredChain returns the departure that ended the membership that a sound chain of p proves. Only
// who was a member is told so. m.mu is held.
func (m *Members) barredChain(p shoal.PeerID, fabric string, chain capability.Chain) (view.Item, bool) {
	g, err := chain.Verify(fabric, p, capability.RoleMember, m.now())
	if err != nil {
		return view.Item{}, false
	}
	life, err := lifeOf(g)
	if err != nil {
		return view.Item{}, false
	}
	it, _, ok := m.view.Barred(p, life)
	return it, ok
}

// grant makes p's credential, one link longer than this node's. m.mu is held.
func (m *Members) grant(p shoal.PeerID, life uint64) (capability.Chain, error) {
	return m.st.Chain.Extend(m.cfg.Key, capability.Grant{
		Fabric: m.st.Fabric, Subject: p, Role: capability.RoleMember, Serial: strconv.FormatUint(life, 10),
	})
}

// renew takes a shorter credential for the same membership. Without it a fabric where each newcomer
// joins through the last one would reach the greatest length of a chain.
func (m *Members) renew(st state, chain capability.Chain) {
	if len(chain) == 0 || len(chain) >= len(st.Chain) {
		return
	}
	g, err := chain.Verify(st.Fabric, m.self, capability.RoleMember, m.now())
	if err != nil {
		return
	}
	life, err := lifeOf(g)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil || life != m.life || m.st == nil || m.st.Fabric != st.Fabric || len(chain) >= len(m.st.Chain) {
		return
	}
	short := state{Fabric: st.Fabric, Chain: chain}
	if err := m.kv.Set(stateKey, wire.Marshal(short)); err != nil {
		m.cfg.Log.Warn("members: cannot keep a shorter credential", "error", err)
		return
	}
	m.st = &short
}

// dismissed takes the proof, shown by p, that this node's membership is over.
func (m *Members) dismissed(p shoal.PeerID, it view.Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return m.standing()
	}
	if _, err := m.view.Offer(it, false, m.now()); err != nil {
		return shoal.Wrap(shoal.Refused, "admission of "+p.Short(), err)
	}
	m.checkSelf()
	if err := m.standing(); err != nil {
		return err
	}
	return shoal.E(shoal.Refused, "admission of "+p.Short(), "it takes this node for departed", "")
}

// checkSelf notices that this node was forgotten. m.mu is held.
func (m *Members) checkSelf() {
	if err := m.standing(); err != nil && m.st != nil && !m.lost {
		m.lost = true
		m.unsaved[m.self] = true
		m.cfg.Log.Error(err.Error())
		m.stir()
	}
}

func departedError(p shoal.PeerID, d view.Departure) error {
	return shoal.E(shoal.Refused, "admission of "+p.Short(),
		fmt.Sprintf("it %s at %s", map[bool]string{false: "left", true: "was forgotten"}[d.Forgotten],
			stamp(time.UnixMilli(d.At))), "it must join anew with an invite")
}
