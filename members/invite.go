package members

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	joinDomain = "join"
	maxUses    = 10_000   // of a limited invite
	welcome    = 32 << 10 // bytes of records given to a joiner
	atOnce     = 4        // peers dialed at once by Join
)

// InviteOptions limit an invite. Zero values: no limit.
type InviteOptions struct {
	TTL  time.Duration // how long it holds
	Uses int           // how many nodes it admits; only this node, while it runs, can redeem a limited one
}

// uses is what is kept of a limited invite.
type uses struct {
	Joiners  []shoal.PeerID `cbor:"j"`
	NotAfter int64          `cbor:"a,omitempty"` // unix seconds, 0: none
}

// joinRequest asks a member, at the door, to redeem an invite.
type joinRequest struct {
	Fabric string              `cbor:"f"`
	Chain  capability.Chain    `cbor:"c"` // root to bearer
	Proof  capability.Envelope `cbor:"p"` // by the bearer key, of a joinProof
	Sent   int64               `cbor:"t"` // unix milliseconds, by the joiner's clock
	Life   uint64              `cbor:"l"` // the joiner's last, 0 for none
}

// joinProof binds the use of an invite to who uses it and with whom.
type joinProof struct {
	Fabric string       `cbor:"f"`
	Joiner shoal.PeerID `cbor:"j"`
	Member shoal.PeerID `cbor:"m"`
}

// admission is what a new member gets.
type admission struct {
	Chain capability.Chain `cbor:"c"`
	Items []view.Item      `cbor:"i"` // of some members, so that it does not depend on this one
}

// Invite returns the text of a new invite. It is a secret: who has it can join.
func (m *Members) Invite(o InviteOptions) (string, error) {
	if o.TTL < 0 || o.Uses < 0 || o.Uses > maxUses {
		return "", shoal.E(shoal.Invalid, "invite", fmt.Sprintf("a limit is out of bounds (0 to %d uses)", maxUses), "")
	}
	addresses := m.addresses()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return "", shoal.Wrap(shoal.Refused, "invite", err)
	}
	seed, serial := make([]byte, 32), make([]byte, 12)
	rand.Read(seed)
	rand.Read(serial)
	g := capability.Grant{Serial: hex.EncodeToString(serial), Uses: o.Uses}
	if o.TTL > 0 {
		g.NotAfter = m.now().Add(o.TTL + time.Second - 1).Unix()
	}
	var list []string
	for _, a := range addresses {
		list = append(list, a+"/p2p/"+string(m.self))
	}
	if len(list) == 0 {
		return "", shoal.E(shoal.Unavailable, "invite", "this node listens on no address", "see 'shoal doctor'")
	}
	if o.Uses == 0 {
		list = append(list, m.others(2)...)
	}
	i, err := capability.NewInvite(m.cfg.Key, m.st.Chain, g, seed, list[:min(len(list), capability.MaxAddresses)])
	if err != nil {
		return "", err
	}
	return i.String(), nil
}

// others returns an address of each of up to n live members, for invites that outlive this node.
func (m *Members) others(n int) (list []string) {
	for _, r := range m.view.Members(m.now()) {
		if len(list) == n {
			break
		}
		if r.ID != m.self && r.State == shoal.Alive && len(r.Addresses) > 0 {
			list = append(list, r.Addresses[0]+"/p2p/"+string(r.ID))
		}
	}
	return list
}

// Join makes this node a member of the fabric that the text of an invite leads to. Joining the
// fabric it belongs to already does nothing. Errors: Invalid for text that is no invite; Refused when
// a member refused, with its reason; Unavailable when none could be asked, with each address tried.
func (m *Members) Join(ctx context.Context, invite string) error {
	i, err := capability.ParseInvite(invite)
	if err != nil {
		return err
	}
	if done, err := m.free("join", i.Fabric); done || err != nil {
		return err
	}
	peers, addresses := byPeer(i.Addresses)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type dialed struct {
		peer shoal.PeerID
		err  error
	}
	results, places := make(chan dialed, len(peers)), make(chan struct{}, atOnce)
	for _, p := range peers {
		go func() {
			select {
			case places <- struct{}{}:
				defer func() { <-places }()
				results <- dialed{p, m.net.Connect(ctx, p, addresses[p])}
			case <-ctx.Done():
				results <- dialed{p, ctx.Err()}
			}
		}()
	}
	var refusal error
	var faults []string
	for range peers {
		var d dialed
		select {
		case d = <-results:
		case <-ctx.Done():
			return shoal.Wrap(shoal.Canceled, "join", ctx.Err())
		}
		if d.err == nil {
			if d.err = m.redeem(ctx, i, d.peer); d.err == nil {
				return nil
			}
			if k := shoal.KindOf(d.err); k == shoal.Refused || k == shoal.Invalid {
				refusal = d.err
			}
		}
		faults = append(faults, strings.ReplaceAll(d.err.Error(), "\n", "\n  "))
	}
	if refusal != nil {
		return refusal
	}
	e := shoal.E(shoal.Unavailable, "join", "no member of the invite answered:\n  "+strings.Join(faults, "\n  "),
		"see that one of them runs and that this machine's network leads there, or ask for a new invite")
	if _, err := i.Verify(m.now()); err != nil {
		e.Try = "the invite does not hold either: " + err.Error()
	}
	return e
}

// byPeer sorts addresses that end in /p2p/ID by peer; peers come in the order of their first address.
func byPeer(list []string) (peers []shoal.PeerID, addresses map[shoal.PeerID][]string) {
	addresses = map[shoal.PeerID][]string{}
	for _, a := range list {
		n := strings.LastIndex(a, "/p2p/")
		if n < 0 {
			continue
		}
		p := shoal.PeerID(a[n+len("/p2p/"):])
		if addresses[p] == nil {
			peers = append(peers, p)
		}
		addresses[p] = append(addresses[p], a[:n])
	}
	return peers, addresses
}

// free reports whether this node may become a member of fabric ("": any), or is one already.
func (m *Members) free(what, fabric string) (done bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.st == nil || m.standing() != nil:
		return false, nil
	case m.st.Fabric == fabric:
		return true, nil
	}
	return false, shoal.E(shoal.Exists, what, "this node belongs to fabric "+m.st.Fabric,
		"use another directory, or 'shoal leave' first")
}

// redeem has p redeem invite i.
func (m *Members) redeem(ctx context.Context, i capability.Invite, p shoal.PeerID) error {
	if p == m.self {
		return shoal.E(shoal.Invalid, "join", "the invite leads to this node itself", "use it on another machine")
	}
	var last uint64
	if err := m.number(lifeKey, &last); err != nil {
		return err
	}
	proof := wire.Marshal(joinProof{i.Fabric, m.self, p})
	b, err := m.door.AskDoor(ctx, p, "join", wire.Marshal(joinRequest{
		Fabric: i.Fabric, Chain: i.Chain, Proof: capability.Seal(i.Bearer(), joinDomain, proof),
		Sent: m.now().UnixMilli(), Life: last,
	}))
	if err != nil {
		return unwrapDoor("join", p, err)
	}
	var a admission
	if err := wire.Unmarshal("join", b, &a); err != nil {
		return err
	}
	return m.enter(i.Fabric, a)
}

// unwrapDoor says what a member answered, without the layers that carried it.
func unwrapDoor(what string, p shoal.PeerID, err error) error {
	var e *shoal.Error
	if k := shoal.KindOf(err); k != shoal.Refused && k != shoal.Invalid || !errors.As(err, &e) {
		return shoal.Wrap(shoal.Unavailable, what+" through "+p.Short(), err)
	}
	for {
		var inner *shoal.Error
		if e.Err == nil || !errors.As(e.Err, &inner) {
			return e
		}
		e = inner
	}
}

// enter takes what a member of fabric granted.
func (m *Members) enter(fabric string, a admission) error {
	g, err := a.Chain.Verify(fabric, m.self, capability.RoleMember, m.now())
	if err != nil {
		return shoal.Wrap(shoal.Refused, "join", err)
	}
	life, err := lifeOf(g)
	if err != nil {
		return err
	}
	if err := m.become(state{Fabric: fabric, Chain: a.Chain}, life); err != nil {
		return shoal.Wrap(shoal.Internal, "join: keep the membership", err)
	}
	m.mu.Lock()
	for _, it := range a.Items {
		if _, err := m.view.Offer(it, true, m.now()); err != nil {
			m.cfg.Log.Warn("members: a record is passed over", "error", err)
			continue
		}
		m.unsaved[it.Fact.Signer] = true
	}
	m.mu.Unlock()
	m.save(len(a.Items)) // so that a node that is killed now finds the fabric again
	return nil
}

// onJoin answers a peer with an invite.
func (m *Members) onJoin(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var r joinRequest
	if err := wire.Unmarshal("join", req, &r); err != nil {
		return nil, err
	}
	m.mu.Lock()
	err := m.standing()
	if err == nil && m.st.Fabric != r.Fabric {
		err = shoal.E(shoal.Refused, "invite", "it is for another fabric than that of "+m.self.Short(),
			"ask for a new one: shoal invite")
	}
	m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	now := m.now()
	if err := m.skewed(r.Sent, now); err != nil {
		return nil, err
	}
	g, err := m.checkInvite(r, from, now)
	if err != nil {
		return nil, err
	}
	if g.Uses > 0 {
		if err := m.count(g, r.Chain[len(r.Chain)-1].Signer, from); err != nil {
			return nil, err
		}
	}
	return m.admit(from, r.Life)
}

// skewed refuses a joiner whose clock differs too much: times that the two sign would mean nothing
// to one another.
func (m *Members) skewed(sent int64, now time.Time) error {
	d := time.UnixMilli(sent).Sub(now)
	if d.Abs() <= m.cfg.MaxSkew {
		return nil
	}
	way := "ahead of"
	if d < 0 {
		way = "behind"
	}
	return shoal.E(shoal.Refused, "clock", fmt.Sprintf("the joining machine's clock is %v %s that of member %s, which says %s",
		d.Abs().Round(time.Second), way, m.self.Short(), stamp(now)), "set the clock of whichever is wrong, then join again")
}

// checkInvite verifies the invite and that from may use it here.
func (m *Members) checkInvite(r joinRequest, from shoal.PeerID, now time.Time) (capability.Grant, error) {
	g, err := r.Chain.Verify(r.Fabric, r.Proof.Signer, capability.RoleInvite, now)
	if err != nil {
		return g, shoal.Wrap(shoal.Refused, "invite", err)
	}
	payload, err := r.Proof.Open(joinDomain)
	if err != nil {
		return g, shoal.Wrap(shoal.Refused, "invite", err)
	}
	var proof joinProof
	if err := wire.Unmarshal("invite", payload, &proof); err != nil {
		return g, err
	}
	if proof != (joinProof{r.Fabric, from, m.self}) {
		return g, shoal.E(shoal.Refused, "invite", "it was presented for another peer", "")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, link := range r.Chain[:len(r.Chain)-1] {
		var by capability.Grant
		if err := wire.Unmarshal("grant", link.Payload, &by); err != nil {
			return g, err
		}
		life, err := lifeOf(by)
		if err != nil {
			return g, err
		}
		if _, d, barred := m.view.Barred(by.Subject, life); barred && d.Forgotten {
			return g, shoal.E(shoal.Refused, "invite", "it comes from "+by.Subject.Short()+", which was forgotten",
				"ask another member for one: shoal invite")
		}
	}
	return g, nil
}

// count notes, on disk, that from uses a limited invite once. A joiner that asks again, because the
// reply was lost, does not count again.
func (m *Members) count(g capability.Grant, issuer, from shoal.PeerID) error {
	if issuer != m.self {
		return shoal.E(shoal.Refused, "invite", "it is limited in uses, so only its issuer "+issuer.Short()+" can redeem it",
			"try when that node runs, or ask for a new one: shoal invite")
	}
	m.redeeming.Lock()
	defer m.redeeming.Unlock()
	var u uses
	b, err := m.kv.Get(inviteKey + g.Serial)
	if err == nil {
		err = wire.Unmarshal("invite's uses", b, &u)
	} else if shoal.KindOf(err) == shoal.NotFound {
		err = nil
	}
	switch {
	case err != nil:
		return shoal.Wrap(shoal.Internal, "invite", err)
	case slices.Contains(u.Joiners, from):
		return nil
	case len(u.Joiners) >= g.Uses:
		return shoal.E(shoal.Refused, "invite", fmt.Sprintf("it is used up (%d of %d)", len(u.Joiners), g.Uses),
			"ask for a new one: shoal invite")
	}
	u.Joiners, u.NotAfter = append(u.Joiners, from), g.NotAfter
	return shoal.Wrap(shoal.Internal, "invite", m.kv.Set(inviteKey+g.Serial, wire.Marshal(u)))
}

// admit makes p a member. last is p's last life as it says itself, which counts within reason.
func (m *Members) admit(p shoal.PeerID, last uint64) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return nil, err
	}
	now := m.now()
	life := max(uint64(now.UnixMilli()), m.view.LastLife(p)+1)
	if last <= uint64(now.Add(24*time.Hour).UnixMilli()) {
		life = max(life, last+1)
	}
	chain, err := m.grant(p, life)
	if err != nil {
		return nil, err
	}
	m.decide(p, verdict{life: life, since: now, until: now.Add(m.cfg.Trust)})
	m.cfg.Log.Info("members: a node joined through this one", "member", p)
	return wire.Marshal(admission{chain, m.introduce(now)}), nil
}

// introduce picks records for a joiner: this node's, and those of others at random, live ones first.
func (m *Members) introduce(now time.Time) (items []view.Item) {
	rows := m.view.Members(now)
	m.rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	rank := func(r shoal.Member) int {
		switch {
		case r.ID == m.self:
			return 0
		case r.State == shoal.Alive:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(rows, func(a, b shoal.Member) int { return rank(a) - rank(b) })
	room := welcome
	for _, r := range rows {
		it, _ := m.view.Item(r.ID, now)
		if room -= len(it.Fact.Payload) + 256; room < 0 && len(items) > 0 {
			break
		}
		items = append(items, it)
	}
	return items
}

// JoinBy makes this node a member as Join does, by a member of the same process: nothing crosses a network. Worlds begin so. Without a
// table it gets to know that member alone: whoever has it join says whom it meets next.
func (m *Members) JoinBy(by *Members) error {
	fabric := by.Fabric()
	if done, err := m.free("join", fabric); done || err != nil {
		return err
	}
	var last uint64
	if err := m.number(lifeKey, &last); err != nil {
		return err
	}
	b, err := by.admit(m.self, last)
	if err != nil {
		return err
	}
	var a admission
	if err := wire.Unmarshal("join", b, &a); err != nil {
		return err
	}
	if !m.cfg.Table && len(a.Items) > 1 {
		a.Items = a.Items[:1]
	}
	return m.enter(fabric, a)
}
