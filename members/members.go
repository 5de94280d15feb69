package members

import (
	"context"
	"crypto/ed25519"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// Members is the member table and the gate. All methods may be called at once.
type Members struct {
	cfg  Config
	self shoal.PeerID
	door Door
	net  Network
	kv   shoal.KV

	redeeming sync.Mutex // one use of a limited invite at a time; taken before mu

	mu       sync.Mutex
	peers    shoal.Peers // nil before Attach
	st       *state      // nil: in no fabric
	life     uint64      // of this node's membership
	view     *view.View
	seq      uint64 // of the last record signed
	ceiling  uint64 // sequence numbers up to here are reserved on disk
	signed   signed
	verdicts map[shoal.PeerID]verdict
	asking   map[shoal.PeerID]*question
	skews    map[shoal.PeerID]time.Duration
	refused  map[shoal.PeerID]time.Time // when a record of theirs was last complained of
	told     map[shoal.PeerID]uint64    // without a table: which of its records this node told a peer last
	rand     *rand.Rand
	watchers []func(shoal.Member)
	events   []event
	saved    map[shoal.PeerID]uint64 // what is on disk of each row, as a hash
	unsaved  map[shoal.PeerID]bool
	lan      lan
	copied   bool // said in the log: another node uses this identity
	lost     bool // said in the log: this node was forgotten

	wake chan struct{} // events wait
}

// event is something that a callback of the network noted for the loop.
type event struct {
	peer      shoal.PeerID
	up, down  bool
	addresses []string // heard on the local network
}

// New returns the members room with what its KV remembers: the fabric this node belongs to, if any,
// and the members it knew. It starts nothing; Run does.
func New(cfg Config, d Deps) (*Members, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	m := &Members{
		cfg: cfg, self: capability.PeerIDOf(cfg.Key.Public().(ed25519.PublicKey)),
		door: d.Door, net: d.Network, kv: d.KV,
		verdicts: map[shoal.PeerID]verdict{}, asking: map[shoal.PeerID]*question{},
		skews: map[shoal.PeerID]time.Duration{}, told: map[shoal.PeerID]uint64{}, refused: map[shoal.PeerID]time.Time{}, rand: rand.New(rand.NewPCG(cfg.Seed, 1)),
		saved: map[shoal.PeerID]uint64{}, unsaved: map[shoal.PeerID]bool{}, wake: make(chan struct{}, 1),
		lan: lan{seen: map[shoal.PeerID][]string{}, pending: map[shoal.PeerID]*request{}},
	}
	if err := m.load(); err != nil {
		return nil, err
	}
	d.Door.HandleDoor("hello", m.onHello)
	d.Door.HandleDoor("join", m.onJoin)
	d.Door.HandleDoor("lan", m.onLAN)
	d.Door.HandleDoor("fabric", m.onFabric)
	d.Network.Notify(func(p shoal.PeerID, up bool) { m.note(event{peer: p, up: up, down: !up}) })
	if disc, ok := d.Network.(Discovery); ok {
		disc.OnDiscover(m.discovered)
	}
	return m, nil
}

// Attach gives the room the means to ask members, once there are any. Call it once, before the
// node's requests are served.
func (m *Members) Attach(p shoal.Peers) {
	for method, h := range map[string]shoal.Handler{
		"members.push": m.onPush, "members.pull": m.onPull, "members.record": m.onRecord, "members.bye": m.onBye,
	} {
		p.Handle(method, m.fromMember(h))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers = p
}

// note keeps an event for the loop. Events of a loop that does not run are bounded.
func (m *Members) note(e event) {
	m.mu.Lock()
	if len(m.events) < 4096 {
		m.events = append(m.events, e)
	}
	m.mu.Unlock()
	m.stir()
}

func (m *Members) stir() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *Members) now() time.Time { return m.cfg.Now() }

// Fabric returns the ID of the fabric this node belongs to, "" for none. See Standing.
func (m *Members) Fabric() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return ""
	}
	return m.st.Fabric
}

// Root returns the fabric's root, "" for none.
func (m *Members) Root() shoal.PeerID {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return ""
	}
	return m.st.Chain[0].Signer
}

// Chain returns this node's credential.
func (m *Members) Chain() capability.Chain {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return nil
	}
	return slices.Clone(m.st.Chain)
}

// Standing returns nil while this node is a member, and else why it is not: it never joined, or was
// forgotten. A forgotten node may Join anew.
func (m *Members) Standing() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.standing()
}

func (m *Members) standing() error {
	if m.st == nil {
		return shoal.E(shoal.Refused, "membership", "this node is in no fabric",
			"found one, or join with an invite: shoal up --join INVITE")
	}
	if it, d, barred := m.view.Barred(m.self, m.life); barred {
		return shoal.E(shoal.Refused, "membership", "this node was forgotten by "+it.Fact.Signer.Short()+" at "+
			stamp(time.UnixMilli(d.At)), "join anew with an invite")
	}
	return nil
}

// Table returns the rows of the other members, by ID, Down ones included; those that left or were
// forgotten are not in it. The caller owns the slice; what the rows refer to must not be changed.
func (m *Members) Table() []shoal.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return nil
	}
	return m.view.Others(m.now())
}

// Since is what changed in the table after a mark: see view.View. This node's own row is not in it.
func (m *Members) Since(mark uint64) (rows []shoal.Member, next uint64, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return nil, 0, true
	}
	rows, next, all = m.view.Since(mark, m.now())
	return slices.DeleteFunc(rows, func(r shoal.Member) bool { return r.ID == m.self }), next, all
}

// Lookup returns the row of one member, this node included, also of one that left or was forgotten.
func (m *Members) Lookup(p shoal.PeerID) (shoal.Member, bool) {
	if p == m.self {
		return m.Self(), true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st == nil {
		return shoal.Member{}, false
	}
	return m.view.Lookup(p, m.now())
}

// Addresses returns where p says that it listens, as multiaddrs without /p2p.
func (m *Members) Addresses(p shoal.PeerID) []string {
	r, _ := m.Lookup(p)
	return slices.Clone(r.Addresses)
}

// Self returns this node's own row, with its load of now.
func (m *Members) Self() shoal.Member {
	load, addresses := m.cfg.Load(), m.addresses()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := shoal.Member{ID: m.self, Addresses: addresses, Attributes: m.cfg.Attributes, State: shoal.Alive}
	if m.st != nil {
		if own, ok := m.view.Lookup(m.self, m.now()); ok {
			r.Seq = own.Seq
		}
	}
	r.Load, r.Seen = load, m.now()
	return r
}

// Known reports, at once, whether p is known as a member. Admit knows better and may take longer.
func (m *Members) Known(p shoal.PeerID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.standing() != nil {
		return false
	}
	if v, ok := m.verdicts[p]; ok && v.err == nil {
		_, _, barred := m.view.Barred(p, v.life)
		return !barred
	}
	_, ok := m.view.Item(p, m.now())
	return ok
}

// Skew returns by how much the clocks of peers are ahead of this node's, as measured when they last
// showed their credentials.
func (m *Members) Skew() map[shoal.PeerID]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.skews)
}

// OnChange has f called, one call at a time and while Run runs, for each row that is new or whose
// record or state has changed. f must not block for long.
func (m *Members) OnChange(f func(shoal.Member)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers = append(m.watchers, f)
}

// Record returns the row of p: from the table, or from p itself when it is not there.
func (m *Members) Record(ctx context.Context, p shoal.PeerID) (shoal.Member, error) {
	what := "record of " + p.Short()
	if r, ok := m.Lookup(p); ok && (p == m.self || m.cfg.Table) {
		return r, nil
	}
	if err := m.Standing(); err != nil {
		return shoal.Member{}, shoal.Wrap(shoal.Refused, what, err)
	}
	m.mu.Lock()
	peers := m.peers
	m.mu.Unlock()
	if peers == nil {
		return shoal.Member{}, shoal.E(shoal.Unavailable, what, "this node is still starting", "")
	}
	b, err := peers.Ask(ctx, p, "members.record", nil)
	if err != nil {
		return shoal.Member{}, shoal.Wrap(shoal.Unavailable, what, err)
	}
	var it view.Item
	if err := wire.Unmarshal(what, b, &it); err != nil {
		return shoal.Member{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if it.Kind != view.KindRecord || it.Fact.Signer != p {
		return shoal.Member{}, shoal.E(shoal.Invalid, what, "the peer answered with something else", "")
	}
	if _, err := m.view.Offer(it, true, m.now()); err != nil {
		return shoal.Member{}, shoal.Wrap(shoal.Invalid, what, err)
	}
	m.view.Contact(p, m.now())
	r, ok := m.view.Lookup(p, m.now())
	if !ok || r.State == shoal.Left || r.State == shoal.Forgotten {
		return r, shoal.E(shoal.Refused, what, "it is no member any more", "")
	}
	return r, nil
}

// ReadRecord verifies a sealed record of p that others kept, as the DHT does, and returns it as a row.
// It does not enter the table, and says nothing of whether p is there now: Seen is when p signed it, by
// p's clock, and the state is Suspect, or Down once the record is no longer valid.
func (m *Members) ReadRecord(p shoal.PeerID, sealed []byte) (shoal.Member, error) {
	what := "record of " + p.Short()
	var env capability.Envelope
	if err := wire.Unmarshal(what, sealed, &env); err != nil {
		return shoal.Member{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.standing(); err != nil {
		return shoal.Member{}, shoal.Wrap(shoal.Refused, what, err)
	}
	r, err := view.OpenRecord(env, m.st.Fabric)
	if err == nil {
		err = r.Clock(env.Signer, m.now())
	}
	if err != nil {
		return shoal.Member{}, shoal.Wrap(shoal.Invalid, what, err)
	}
	if env.Signer != p {
		return shoal.Member{}, shoal.E(shoal.Invalid, what, "it is about somebody else", "")
	}
	if _, d, barred := m.view.Barred(p, r.Life); barred {
		return shoal.Member{}, departedError(p, d)
	}
	now, row := m.now(), r.Member(p)
	if row.Seen = time.UnixMilli(r.At); row.Seen.After(now) {
		row.Seen = now
	}
	if row.State = shoal.Suspect; now.Sub(row.Seen) > time.Duration(r.TTL)*time.Second {
		row.State = shoal.Down
	}
	return row, nil
}

// Neighbour is a node heard on the local network.
type Neighbour struct {
	Peer   shoal.PeerID
	Fabric string // "": it is in none
}

// fabricReply says which fabric a node is in, "" for none: no secret, for the protocols that a node lists
// to whoever connects bear the fabric's name.
type fabricReply struct {
	Fabric string `cbor:"f"`
}

// Neighbours asks the nodes heard on the local network, save those in but, which fabric they are in. Who
// does not answer is left out.
func (m *Members) Neighbours(ctx context.Context, but map[shoal.PeerID]bool) (list []Neighbour) {
	m.mu.Lock()
	seen := maps.Clone(m.lan.seen)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	for p, addresses := range seen {
		if but[p] {
			continue
		}
		all.Go(func() {
			if m.net.Connect(ctx, p, addresses) != nil {
				return
			}
			var r fabricReply
			b, err := m.door.AskDoor(ctx, p, "fabric", nil)
			if err != nil || wire.Unmarshal("fabric", b, &r) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, Neighbour{p, r.Fabric})
		})
	}
	all.Wait()
	return list
}

// onFabric tells anybody which fabric this node is in.
func (m *Members) onFabric(context.Context, shoal.PeerID, []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.standing() != nil {
		return wire.Marshal(fabricReply{}), nil
	}
	return wire.Marshal(fabricReply{m.st.Fabric}), nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
