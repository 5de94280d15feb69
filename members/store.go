package members

import (
	"crypto/ed25519"
	"crypto/rand"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// Keys of the KV.
const (
	stateKey  = "state"   // state
	seqKey    = "seq"     // the least sequence number never used
	lifeKey   = "life"    // the last life of this node, also after it left
	peerKey   = "peer/"   // + ID: known, a member's record
	goneKey   = "gone/"   // + ID: known, a departure
	inviteKey = "invite/" // + serial: uses
	rootKey   = "root/"   // + fabric: seed of the root key, where this node founded the fabric
)

// seqBlock is how many sequence numbers are reserved with one write.
const seqBlock = 4096

// state is this node's membership.
type state struct {
	Fabric string           `cbor:"f"`
	Chain  capability.Chain `cbor:"c"`
}

// known is a fact on disk.
type known struct {
	Item view.Item `cbor:"i"`
	Made int64     `cbor:"m"` // unix milliseconds: when its signer made it, by this node's clock
}

// load reads what the KV remembers.
func (m *Members) load() error {
	if err := m.number(seqKey, &m.seq); err != nil {
		return err
	}
	m.ceiling = m.seq
	m.dropInvites()
	b, err := m.kv.Get(stateKey)
	if shoal.KindOf(err) == shoal.NotFound {
		return nil
	}
	var st state
	if err == nil {
		err = wire.Unmarshal("membership", b, &st)
	}
	if err == nil {
		err = m.use(st)
	}
	if err != nil {
		return shoal.Wrap(shoal.Corrupt, "membership on disk", err)
	}
	return nil
}

// dropInvites forgets the uses of invites that expired long ago.
func (m *Members) dropInvites() {
	for key, b := range m.kv.Scan(inviteKey) {
		var u uses
		if wire.Unmarshal("invite's uses", b, &u) == nil && u.NotAfter > 0 && m.now().Unix() > u.NotAfter+7*24*3600 {
			if err := m.kv.Delete(key); err != nil {
				m.cfg.Log.Warn("members: cannot delete an expired invite", "error", err)
			}
		}
	}
}

// number reads a number from the KV; an absent one stays as it is.
func (m *Members) number(key string, to *uint64) error {
	b, err := m.kv.Get(key)
	if shoal.KindOf(err) == shoal.NotFound && err != nil {
		return nil
	}
	if err == nil {
		*to, err = strconv.ParseUint(string(b), 10, 64)
	}
	if err != nil {
		return shoal.Wrap(shoal.Corrupt, "members' "+key+" on disk", err)
	}
	return nil
}

// use makes st this node's membership, in memory, with the facts on disk of that fabric.
func (m *Members) use(st state) error {
	g, err := st.Chain.Verify(st.Fabric, m.self, capability.RoleMember, m.now())
	if err != nil {
		return err
	}
	life, err := lifeOf(g)
	if err != nil {
		return err
	}
	addresses := m.addresses()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.st, m.life, m.signed, m.lost = &st, life, signed{}, false
	var mark uint64
	if m.view != nil {
		mark = m.view.Mark()
	}
	m.view = view.New(view.Config{
		Self: m.self, Fabric: st.Fabric, Table: m.cfg.Table,
		SuspectAfter: m.cfg.SuspectAfter, DownAfter: m.cfg.DownAfter, Mark: mark,
	})
	clear(m.verdicts)
	clear(m.saved)
	clear(m.told)
	for _, prefix := range []string{goneKey, peerKey} {
		for key, b := range m.kv.Scan(prefix) {
			var k known
			err := wire.Unmarshal("member", b, &k)
			if err == nil {
				k.Item.Age = uint64(max(0, now.UnixMilli()-k.Made))
				err = m.view.Recall(k.Item, now)
			}
			if err != nil {
				m.cfg.Log.Warn("members: a row on disk is passed over", "key", key, "error", err)
				continue
			}
			if prefix == peerKey {
				if r, ok := m.view.Lookup(shoal.PeerID(strings.TrimPrefix(key, prefix)), now); ok {
					m.saved[r.ID] = card(r)
				}
			}
		}
	}
	m.view.Changes(now) // what was known before is no change
	m.checkSelf()
	m.sign(addresses, now)
	m.stir()
	return nil
}

// become makes st this node's membership for good.
func (m *Members) become(st state, life uint64) error {
	if err := m.kv.Set(lifeKey, strconv.AppendUint(nil, life, 10)); err != nil {
		return err
	}
	if err := m.kv.Set(stateKey, wire.Marshal(st)); err != nil {
		return err
	}
	return m.use(st)
}

// lifeOf reads the life that a member's grant begins: its serial.
func lifeOf(g capability.Grant) (uint64, error) {
	n, err := strconv.ParseUint(g.Serial, 10, 63)
	if err != nil || n == 0 {
		return 0, shoal.E(shoal.Invalid, "credential", "its serial is no life number",
			"check that both nodes run the same version of shoal")
	}
	return n, nil
}

// Found makes a new fabric with this node as its first member. The root key is made, and kept in the
// KV of this node: see RootKey.
func (m *Members) Found() error {
	if f := m.Fabric(); f != "" {
		return shoal.E(shoal.Exists, "found a fabric", "this node belongs to fabric "+f, "use another directory")
	}
	_, root, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var last uint64
	if err := m.number(lifeKey, &last); err != nil {
		return err
	}
	fabric := capability.FabricID(capability.PeerIDOf(root.Public().(ed25519.PublicKey)))
	life := max(uint64(m.now().UnixMilli()), last+1)
	chain, err := capability.Chain(nil).Extend(root, capability.Grant{
		Fabric: fabric, Subject: m.self, Role: capability.RoleMember, Serial: strconv.FormatUint(life, 10),
	})
	if err != nil {
		return err
	}
	if err := m.kv.Set(rootKey+fabric, root.Seed()); err != nil {
		return err
	}
	return m.become(state{Fabric: fabric, Chain: chain}, life)
}

// RootKey returns the fabric's root key if this node founded the fabric or imported it, else NotFound.
func (m *Members) RootKey() (ed25519.PrivateKey, error) {
	seed, err := m.kv.Get(rootKey + m.Fabric())
	if err == nil && len(seed) != ed25519.SeedSize {
		err = shoal.E(shoal.Corrupt, "root key", "it has the wrong length", "import it again: shoal key import FILE")
	}
	if shoal.KindOf(err) == shoal.NotFound && err != nil {
		return nil, shoal.E(shoal.NotFound, "root key", "this node does not have it",
			"export it on the node that founded the fabric")
	}
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// ImportRootKey keeps the fabric's root key on this node too. Invalid: it is another fabric's.
func (m *Members) ImportRootKey(root ed25519.PrivateKey) error {
	f := m.Fabric()
	if f == "" || capability.FabricID(capability.PeerIDOf(root.Public().(ed25519.PublicKey))) != f {
		return shoal.E(shoal.Invalid, "root key", "it is not that of this node's fabric "+f, "import it on a member of its own fabric")
	}
	return shoal.Wrap(shoal.Internal, "root key", m.kv.Set(rootKey+f, root.Seed()))
}

// card is what of a row is worth a write to disk, as a hash: all but load and age.
func card(r shoal.Member) uint64 {
	h := fnv.New64a()
	h.Write(wire.Marshal(struct {
		A []string         `cbor:"a"`
		B shoal.Attributes `cbor:"b"`
	}{r.Addresses, r.Attributes}))
	return h.Sum64()
}

// save writes at most n of the rows that changed to disk.
func (m *Members) save(n int) {
	type write struct {
		key   string
		value []byte
		row   shoal.PeerID
		card  uint64
	}
	var list []write
	m.mu.Lock()
	now := m.now()
	for p := range m.unsaved {
		if len(list) >= n {
			break
		}
		delete(m.unsaved, p)
		if m.st == nil {
			continue
		}
		if it, d, gone := m.view.Barred(p, 1); gone {
			list = append(list, write{key: goneKey + string(p), value: wire.Marshal(known{it, d.At}), row: p})
		}
		if p == m.self {
			continue // its own record it can make anew
		}
		it, ok := m.view.Item(p, now)
		if !ok {
			list = append(list, write{key: peerKey + string(p), row: p})
			delete(m.saved, p)
			continue
		}
		r, _ := m.view.Lookup(p, now)
		if c := card(r); m.saved[p] != c {
			made := now.UnixMilli() - int64(it.Age)
			list = append(list, write{peerKey + string(p), wire.Marshal(known{it, made}), p, c})
		}
	}
	m.mu.Unlock()
	for _, w := range list {
		var err error
		if w.value == nil {
			err = m.kv.Delete(w.key)
		} else {
			err = m.kv.Set(w.key, w.value)
		}
		m.mu.Lock()
		if err != nil {
			m.unsaved[w.row] = true
		} else if w.card != 0 {
			m.saved[w.row] = w.card
		}
		m.mu.Unlock()
		if err != nil {
			m.cfg.Log.Warn("members: cannot keep a row", "member", w.row, "error", err)
			return
		}
	}
}
