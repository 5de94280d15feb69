package view

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
)

// Config says whose view it is. Zero durations and sizes mean the defaults given here.
type Config struct {
	Self   shoal.PeerID
	Fabric string
	// Table keeps the whole table. Without it only records heard from the members themselves are
	// kept, while they are in contact, and only departures spread.
	Table        bool
	SuspectAfter time.Duration // without an answer, once one failed to come; 3 s
	DownAfter    time.Duration // 30 s
	Keep         time.Duration // rows that are Down, and departures by leaving; 30 days
	Limit        int           // members and departures; 16384
	Mark         uint64        // where the marks of Since begin: above all marks of the views before
}

func (c Config) validate() Config {
	c.SuspectAfter = cmp.Or(c.SuspectAfter, 3*time.Second)
	c.DownAfter = cmp.Or(c.DownAfter, 30*time.Second)
	c.Keep = cmp.Or(c.Keep, 30*24*time.Hour)
	c.Limit = cmp.Or(c.Limit, 1<<14)
	return c
}

// The kinds of facts.
const (
	KindRecord    = 1
	KindDeparture = 2
)

// Item is a fact as it travels, with its age: how many milliseconds ago its signer made it, as far
// as the sender knows. Ages add up from node to node, so no clocks are compared.
type Item struct {
	Kind uint8               `cbor:"k"`
	Fact capability.Envelope `cbor:"f"`
	Age  uint64              `cbor:"a,omitempty"`
}

// size is about what i takes on the wire.
func (i Item) size() int { return len(i.Fact.Payload) + len(i.Fact.Sig) + len(i.Fact.Signer) + 32 }

// version orders the facts of one kind about one member. A tie, two different facts under one
// number, happens when a node's directory was copied; the hash then decides, the same everywhere.
type version struct {
	life, seq uint64
	tie       uint32
}

func (a version) compare(b version) int {
	return cmp.Or(cmp.Compare(a.life, b.life), cmp.Compare(a.seq, b.seq), cmp.Compare(a.tie, b.tie))
}

func tie(e capability.Envelope) uint32 {
	h := sha256.New()
	h.Write([]byte(e.Signer))
	h.Write(e.Payload)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// entry is what is known of one member: the greatest record, unless a departure ended it, the
// greatest departure, and this node's own experience.
type entry struct {
	id  shoal.PeerID
	key uint64 // position in digests: the start of the hash of id

	rec    *Record
	recEnv capability.Envelope
	recVer version
	heard  time.Time // when the signer made the record, by this node's clock

	gone    *Departure
	goneEnv capability.Envelope
	goneVer version
	goneAt  time.Time // when the departure was heard of

	contact time.Time // it last answered this node
	failing time.Time // it first failed to, since
	probed  time.Time
	tries   int       // failed in a row
	next    time.Time // no call is tried before

	shown   shoal.MemberState // as last reported by Changes
	shownAt version

	last    shoal.MemberState // as last seen by Since
	changed uint64            // the mark at which record or state became what they are
}

// View is the member table. See the package comment.
type View struct {
	cfg     Config
	rows    map[shoal.PeerID]*entry
	order   []*entry // the rows, by ID
	rumours map[rumourKey]*rumour
	sum     uint64
	live    int    // rows with a record
	outdone uint64 // sequence number of a record of this node that it does not remember
	since   since
	told    uint64 // the mark of the last Changes
}

// New returns an empty view.
func New(cfg Config) *View {
	return &View{
		cfg: cfg.validate(), rows: map[shoal.PeerID]*entry{}, rumours: map[rumourKey]*rumour{},
		since: since{mark: cfg.Mark + 1, dropped: cfg.Mark + 1},
	}
}

// keyOf places a member in digests.
func keyOf(id shoal.PeerID) uint64 {
	h := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(h[:])
}

// find returns where a row is, or would be, in order.
func (v *View) find(id shoal.PeerID) (int, bool) {
	return slices.BinarySearchFunc(v.order, id, func(e *entry, id shoal.PeerID) int { return cmp.Compare(e.id, id) })
}

func (v *View) row(id shoal.PeerID) (*entry, error) {
	if e := v.rows[id]; e != nil {
		return e, nil
	}
	if len(v.rows) >= v.cfg.Limit && id != v.cfg.Self {
		return nil, shoal.E(shoal.Full, "member table", "it holds as many members as it may", "")
	}
	e := &entry{id: id, key: keyOf(id)}
	v.rows[id] = e
	at, _ := v.find(id)
	v.order = slices.Insert(v.order, at, e)
	return e, nil
}

// Offer merges one fact, and reports whether it was news. direct says that it came from the member
// itself. The view keeps the item's bytes. A fact that is not news is not verified. Invalid: the signer says what
// cannot be, and has signed it. Refused: it is not the signer's, or not of this fabric.
func (v *View) Offer(it Item, direct bool, now time.Time) (news bool, err error) {
	return v.offer(it, direct, true, now)
}

// Recall is Offer of what this node itself kept: its clock may have been set back since.
func (v *View) Recall(it Item, now time.Time) error {
	_, err := v.offer(it, true, false, now)
	return err
}

func (v *View) offer(it Item, direct, clock bool, now time.Time) (news bool, err error) {
	at := now.Add(-time.Duration(min(it.Age, 1<<42)) * time.Millisecond)
	switch it.Kind {
	case KindRecord:
		return v.offerRecord(it.Fact, direct, clock, at, now)
	case KindDeparture:
		return v.offerDeparture(it.Fact, at, now)
	}
	return false, invalid("member news", "of an unknown kind")
}

func (v *View) offerRecord(env capability.Envelope, direct, clock bool, heard, now time.Time) (bool, error) {
	r, err := readRecord(env, v.cfg.Fabric)
	if err == nil && clock && env.Signer != v.cfg.Self { // its own it must hear of, to outdo it
		err = r.Clock(env.Signer, now)
	}
	if err != nil {
		if _, forged := env.Open(recordDomain); forged != nil { // nobody is to blame for what others invent
			return false, forged
		}
		return false, err
	}
	ver := version{r.Life, r.Seq, tie(env)}
	old := v.rows[env.Signer]
	switch {
	case !v.cfg.Table && !direct:
		return false, nil
	case old != nil && old.rec != nil && ver.compare(old.recVer) <= 0:
		return false, nil
	case old != nil && old.gone != nil && r.Life <= old.gone.Life:
		return false, nil
	}
	if _, err := env.Open(recordDomain); err != nil {
		return false, err
	}
	if env.Signer == v.cfg.Self {
		// This node said so, and forgot: its directory was restored, or copied. It will outdo that.
		if old != nil && old.rec != nil && r.Life == old.rec.Life {
			v.outdone = max(v.outdone, r.Seq)
		}
		return false, nil
	}
	e, err := v.row(env.Signer)
	if err != nil {
		return false, err
	}
	if e.rec == nil || !slices.Equal(e.rec.Addresses, r.Addresses) || e.rec.Life != r.Life {
		e.tries, e.next = 0, time.Time{} // worth a call at once
	}
	v.setRecord(e, &r, env, ver, heard, now)
	return true, nil
}

// setRecord replaces an entry's record and keeps the sum, the count and the rumours right.
func (v *View) setRecord(e *entry, r *Record, env capability.Envelope, ver version, heard, now time.Time) {
	v.sum ^= e.hash(v.cfg.Table)
	if e.rec != nil {
		v.live--
	}
	e.rec, e.recEnv, e.recVer, e.heard = r, env, ver, heard
	v.since.look(e)
	if r != nil {
		v.live++
		if v.cfg.Table {
			v.spread(rumourKey{e.id, KindRecord}, heard, now)
		}
	} else {
		delete(v.rumours, rumourKey{e.id, KindRecord})
		e.contact, e.failing = time.Time{}, time.Time{}
	}
	v.sum ^= e.hash(v.cfg.Table)
}

func (v *View) offerDeparture(env capability.Envelope, at, now time.Time) (bool, error) {
	d, err := readDeparture(env, v.cfg.Fabric)
	if err != nil {
		return false, err
	}
	ver := version{d.Life, 0, tie(env)}
	if d.Forgotten {
		ver.seq = 1
	}
	old := v.rows[d.Subject]
	if old != nil && old.gone != nil && ver.compare(old.goneVer) <= 0 {
		return false, nil
	}
	if !d.Forgotten && now.Sub(time.UnixMilli(d.At)) > v.cfg.Keep {
		return false, nil // Prune would drop it again
	}
	if err := d.verify(env, now); err != nil {
		return false, err
	}
	e, err := v.row(d.Subject)
	if err != nil {
		return false, err
	}
	if e.rec != nil && e.rec.Life <= d.Life {
		v.dropRecord(e, now)
	}
	v.sum ^= e.hash(v.cfg.Table)
	e.gone, e.goneEnv, e.goneVer, e.goneAt = &d, env, ver, at
	v.since.look(e)
	v.sum ^= e.hash(v.cfg.Table)
	v.spread(rumourKey{e.id, KindDeparture}, at, now)
	return true, nil
}

func (v *View) dropRecord(e *entry, now time.Time) {
	v.setRecord(e, nil, capability.Envelope{}, version{}, time.Time{}, now)
}

// spread makes a fact a rumour while it is hot. Older ones, a whole table at the first pull for
// instance, are known to others already or travel by anti-entropy.
func (v *View) spread(k rumourKey, made, now time.Time) {
	delete(v.rumours, k)
	if now.Sub(made) <= hot {
		v.rumours[k] = &rumour{}
	}
}

// SetSelf makes r, signed as env, this node's own record. It must outdo the last one.
func (v *View) SetSelf(r Record, env capability.Envelope, now time.Time) {
	e, _ := v.row(v.cfg.Self)
	v.setRecord(e, &r, env, version{r.Life, r.Seq, tie(env)}, now, now)
	if r.Seq > v.outdone {
		v.outdone = 0
	}
}

// Outdone returns the sequence number of a record by which somebody knows this node better than it
// does itself, 0 for none: the next SetSelf needs a greater one.
func (v *View) Outdone() uint64 { return v.outdone }

// Barred returns the departure that ended life of id, if there is one.
func (v *View) Barred(id shoal.PeerID, life uint64) (Item, Departure, bool) {
	e := v.rows[id]
	if e == nil || e.gone == nil || life > e.gone.Life {
		return Item{}, Departure{}, false
	}
	return Item{Kind: KindDeparture, Fact: e.goneEnv}, *e.gone, true
}

// LastLife returns the greatest life of id known, 0 for none.
func (v *View) LastLife(id shoal.PeerID) (life uint64) {
	if e := v.rows[id]; e != nil {
		if e.rec != nil {
			life = e.rec.Life
		}
		if e.gone != nil {
			life = max(life, e.gone.Life)
		}
	}
	return life
}

// Item returns the record of id as it travels.
func (v *View) Item(id shoal.PeerID, now time.Time) (Item, bool) {
	e := v.rows[id]
	if e == nil || e.rec == nil {
		return Item{}, false
	}
	return e.recordItem(now), true
}

func (e *entry) recordItem(now time.Time) Item {
	return Item{Kind: KindRecord, Fact: e.recEnv, Age: age(e.heard, now)}
}

func (e *entry) departureItem(now time.Time) Item {
	return Item{Kind: KindDeparture, Fact: e.goneEnv, Age: age(e.goneAt, now)}
}

func age(at, now time.Time) uint64 { return uint64(max(0, now.Sub(at).Milliseconds())) }

// Count returns how many members have a record here, this node included.
func (v *View) Count() int { return v.live }
