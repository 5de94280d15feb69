package data

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// dataset is what this node knows of one graph. It is never changed: update makes a new one.
type dataset struct {
	m *shoal.Manifest
	role
}

// role says why a graph is here. A graph may be here for several reasons.
type role struct {
	Held   []byte   `cbor:"h,omitempty"` // bit i: partition i is kept for the fabric
	Extra  []byte   `cbor:"e,omitempty"` // bit i: a copy of partition i beyond the fabric's is kept here while it pays
	Pinned bool     `cbor:"p,omitempty"` // a user asked this node to keep all of it
	Bare   bool     `cbor:"b,omitempty"` // the manifest was made up here: there may be a better one
	Put    int64    `cbor:"t,omitempty"` // Unix milliseconds of the put that brought it, by its node's clock
	Peers  []string `cbor:"w,omitempty"` // who else was asked to keep parts of it: a hint
	Lease  int64    `cbor:"l,omitempty"` // Unix seconds until which all of it is kept
	Used   int64    `cbor:"u,omitempty"` // Unix seconds: it is cached, and was last used then; 0: not cached
	Shown  bool     `cbor:"s,omitempty"` // the cached copy is announced
	Open   bool     `cbor:"o,omitempty"` // a put here has not come to its end: Held is more than this node's share
	Gone   int64    `cbor:"x,omitempty"` // Unix milliseconds of its release; then nothing else is set
}

func (r *role) holds(i int) bool { return bit(r.Held, i) }

// extra reports whether partition i is kept beyond the fabric's copies: by this node's own choice, until it retires it.
func (r *role) extra(i int) bool { return bit(r.Extra, i) }

// keeps reports whether partition i is kept, for either reason.
func (r *role) keeps(i int) bool { return r.holds(i) || r.extra(i) }

// set has partition i kept for the fabric, or not. A copy that was beyond the fabric's is one of them from then on.
func (r *role) set(i int, on bool) {
	r.Held = setBit(r.Held, i, on)
	if on && r.extra(i) {
		r.Extra = setBit(r.Extra, i, false)
	}
}

func (r *role) setExtra(i int, on bool) { r.Extra = setBit(r.Extra, i, on) }

func bit(b []byte, i int) bool { return i/8 < len(b) && b[i/8]&(1<<(i%8)) != 0 }

// setBit returns a copy of b with bit i changed.
func setBit(b []byte, i int, on bool) []byte {
	b = slices.Clone(b)
	for i/8 >= len(b) {
		b = append(b, 0)
	}
	if on {
		b[i/8] |= 1 << (i % 8)
	} else {
		b[i/8] &^= 1 << (i % 8)
	}
	return b
}

// held lists the partitions kept for the fabric.
func (s *dataset) held() (out []int) {
	for i := range s.m.Partitions {
		if s.holds(i) {
			out = append(out, i)
		}
	}
	return out
}

// extras lists the partitions kept beyond the fabric's copies.
func (s *dataset) extras() (out []int) {
	for i := range s.m.Partitions {
		if s.extra(i) {
			out = append(out, i)
		}
	}
	return out
}

// kept reports whether the graph, or a part of it, must stay.
func (s *dataset) kept() bool {
	any := func(b byte) bool { return b != 0 }
	return s.Pinned || slices.ContainsFunc(s.Held, any) || slices.ContainsFunc(s.Extra, any)
}

// whole reports whether all of the graph is here, or was.
func (s *dataset) whole(now time.Time) bool {
	return s.Gone == 0 && (s.Pinned || s.Used > 0 || s.Lease > now.Unix())
}

// announced reports whether the directory should know of it.
func (s *dataset) announced() bool { return s.Gone == 0 && (s.kept() || s.Shown) }

// part is one place of a partition.
type part struct {
	root  cid.Cid
	index int
}

// load reads the records of an earlier life.
func (d *Data) load() error {
	manifests := map[string]*shoal.Manifest{}
	for key, b := range d.KV.Scan("m/") {
		m := new(shoal.Manifest)
		if err := wire.Unmarshal("stored manifest", b, m); err != nil {
			return err
		}
		manifests[key[2:]] = m
	}
	for key, b := range d.KV.Scan("r/") {
		s := &dataset{m: manifests[key[2:]]}
		if err := wire.Unmarshal("stored role", b, &s.role); err != nil {
			return err
		}
		if s.m != nil && s.m.Root.Defined() {
			d.publish(s)
		}
	}
	return nil
}

// publish makes s what this node knows of its graph.
func (d *Data) publish(s *dataset) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.sets[s.m.Root]; old == nil || old.m != s.m {
		if old != nil {
			d.unindex(old)
		}
		for i, p := range s.m.Partitions {
			d.parts[p.CID] = append(d.parts[p.CID], part{s.m.Root, i})
		}
	}
	d.sets[s.m.Root] = s
}

// unindex forgets where a dataset's partitions belong. The caller holds mu.
func (d *Data) unindex(s *dataset) {
	for _, p := range s.m.Partitions {
		rest := slices.DeleteFunc(slices.Clone(d.parts[p.CID]), func(at part) bool { return at.root == s.m.Root })
		if d.parts[p.CID] = rest; len(rest) == 0 {
			delete(d.parts, p.CID)
		}
	}
}

// know returns what this node knows of a graph, or nil.
func (d *Data) know(root cid.Cid) *dataset {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.sets[root]
}

// all returns every dataset this node knows, ordered by root.
func (d *Data) all() []*dataset {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := slices.Collect(maps.Values(d.sets))
	slices.SortFunc(out, func(a, b *dataset) int { return compareCIDs(a.m.Root, b.m.Root) })
	return out
}

func compareCIDs(a, b cid.Cid) int {
	switch {
	case a.KeyString() < b.KeyString():
		return -1
	case a.KeyString() > b.KeyString():
		return 1
	}
	return 0
}

// update changes what this node knows of m's graph and returns when that is durable. A manifest that
// was not made up replaces one that was, and that of a later put an earlier one. Exists: parts are kept
// here by another cut, which Held counts.
func (d *Data) update(m *shoal.Manifest, f func(r *role)) (*dataset, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	next := &dataset{m: m, role: role{Bare: true}}
	old := d.know(m.Root)
	if old != nil {
		*next = *old
	}
	f(&next.role)
	if old != nil && old.m != m {
		later := !next.Bare && next.Put > old.Put
		if later && !old.Bare && old.kept() && !slices.Equal(old.m.Partitions, m.Partitions) {
			return nil, shoal.E(shoal.Exists, "keep "+m.Root.String(), "it is kept here already, cut otherwise",
				"put it as it is cut, or 'shoal unpin' it first")
		}
		if old.Bare && !next.Bare || later || len(old.m.Partitions) == 0 {
			next.m = m
		}
	}
	key := m.Root.String()
	if old == nil || next.m != old.m {
		if err := d.KV.Set("m/"+key, wire.Marshal(next.m)); err != nil {
			return nil, err
		}
	}
	if err := d.KV.Set("r/"+key, wire.Marshal(next.role)); err != nil {
		return nil, err
	}
	d.publish(next)
	return next, nil
}

// forget drops a record that nothing needs.
func (d *Data) forget(s *dataset) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if d.know(s.m.Root) != s {
		return nil // it changed meanwhile
	}
	key := s.m.Root.String()
	if err := errors.Join(d.KV.Delete("r/"+key), d.KV.Delete("m/"+key)); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unindex(s)
	delete(d.sets, s.m.Root)
	return nil
}

// bare makes up the manifest of a graph that nobody put, or whose manifest nobody knows here.
func bare(c cid.Cid, size uint64) *shoal.Manifest {
	return &shoal.Manifest{
		Root: c, Split: shoal.SplitBytes, Bytes: size, Replicas: 1,
		Partitions: []shoal.Partition{{CID: c, Bytes: size}},
	}
}

// keys are what a dataset is announced under.
func keys(s *dataset) []shoal.Key {
	out := []shoal.Key{shoal.DataKey(s.m.Root)}
	whole := s.Pinned || s.Shown
	for i, p := range s.m.Partitions {
		if (whole || s.keeps(i)) && p.CID != s.m.Root {
			out = append(out, shoal.DataKey(p.CID))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// announce tells the directory what this node has of s. If that fails the data is safe all the same:
// Run tries again until everything is announced.
func (d *Data) announce(ctx context.Context, s *dataset) {
	if !s.announced() {
		return
	}
	if err := d.Directory.Provide(ctx, keys(s)...); err != nil {
		d.log.Warn("announce; tried again soon", "root", s.m.Root, "err", err)
		d.unheard.Store(true)
	}
}

// announceAll announces everything this node keeps, in one call.
func (d *Data) announceAll(ctx context.Context) {
	var all []shoal.Key
	for _, s := range d.all() {
		if s.announced() {
			all = append(all, keys(s)...)
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if err := d.Directory.Provide(ctx, all...); err != nil {
		d.log.Warn("announce; tried again soon", "keys", len(all), "err", err)
		d.unheard.Store(true)
	}
}

// withdraw stops announcing what was announced for old and is not any more.
func (d *Data) withdraw(ctx context.Context, old *dataset) {
	still := map[shoal.Key]bool{}
	for _, s := range d.all() {
		if s.announced() {
			for _, k := range keys(s) {
				still[k] = true
			}
		}
	}
	gone := slices.DeleteFunc(keys(old), func(k shoal.Key) bool { return still[k] })
	if len(gone) == 0 {
		return
	}
	if err := d.Directory.Withdraw(ctx, gone...); err != nil {
		d.log.Warn("withdraw", "root", old.m.Root, "err", err)
	}
}

// Limits on a manifest from a peer.
const (
	maxPartitions = 1 << 14
	maxReplicas   = 64
)

// checkManifest refuses what no honest peer sends.
func checkManifest(m *shoal.Manifest) error {
	bad := func(why string) error {
		return shoal.E(shoal.Invalid, "manifest", why, "check that both nodes run the same version of shoal")
	}
	switch {
	case !m.Root.Defined():
		return bad("no root")
	case len(m.Partitions) == 0 || len(m.Partitions) > maxPartitions:
		return bad("no partitions, or too many")
	case len(m.Needs) > maxNeeds:
		return bad("the requirement is too long")
	case len(m.Name) > 255:
		return bad("the name is too long")
	case m.Replicas < 1 || m.Replicas > maxReplicas:
		return bad("an impossible number of replicas")
	}
	var sum uint64
	for _, p := range m.Partitions {
		if !p.CID.Defined() || p.Bytes > 1<<60 || sum+p.Bytes < sum {
			return bad("a malformed partition")
		}
		sum += p.Bytes
	}
	if sum != m.Bytes {
		return bad("the partitions do not add up")
	}
	return nil
}

// Dataset is one dataset of which this node keeps a part.
type Dataset struct {
	Root       cid.Cid
	Name       string
	Bytes      uint64 // of content, in all
	Held       int    // partitions kept here for the fabric
	Extra      []Extra
	Partitions int
	Pinned     bool
	Public     bool
}

// Kept lists the partitions of a dataset that this node keeps for the fabric, ascending.
func (d *Data) Kept(root cid.Cid) []int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.sets[root]
	if s == nil || s.Gone > 0 {
		return nil
	}
	return s.held()
}

// Datasets lists the datasets of which this node keeps a part, by name and CID.
func (d *Data) Datasets() []Dataset {
	var out []Dataset
	for _, s := range d.all() {
		if !s.kept() {
			continue
		}
		held := len(s.held())
		if s.Pinned {
			held = len(s.m.Partitions)
		}
		out = append(out, Dataset{
			Root: s.m.Root, Name: s.m.Name, Bytes: s.m.Bytes, Held: held, Partitions: len(s.m.Partitions),
			Pinned: s.Pinned, Public: s.m.Public, Extra: d.copies.of(s, d.cfg.KeepExtra, time.Now()),
		})
	}
	slices.SortFunc(out, func(a, b Dataset) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Root.String(), b.Root.String())
	})
	return out
}

// publicSet knows the blocks that strangers may have, each by the root of the public graphs it is in.
type publicSet struct {
	mu     sync.RWMutex
	blocks map[mark]struct{}
	roots  map[cid.Cid]bool
}

// Public reports whether strangers may have a block: whether a graph put with --public has it. It
// never blocks for long.
func (d *Data) Public(c cid.Cid) bool {
	d.public.mu.RLock()
	defer d.public.mu.RUnlock()
	_, ok := d.public.blocks[markOf(c)]
	return ok
}

// publicise lets strangers have the blocks of a public dataset.
func (d *Data) publicise(ctx context.Context, m *shoal.Manifest) {
	blocks := map[mark]struct{}{}
	for _, root := range append([]cid.Cid{m.Root}, cidsOf(m)...) {
		err := d.Graph.Walk(ctx, root, d.Store.Get, func(c cid.Cid, _ int, _ bool) error {
			blocks[markOf(c)] = struct{}{}
			return nil
		})
		if err != nil && shoal.KindOf(err) != shoal.NotFound { // partitions that others keep are not here
			d.log.Warn("walk of a public dataset", "root", root, "err", err)
		}
	}
	d.public.mu.Lock()
	defer d.public.mu.Unlock()
	if d.public.blocks == nil {
		d.public.blocks, d.public.roots = map[mark]struct{}{}, map[cid.Cid]bool{}
	}
	for b := range blocks {
		d.public.blocks[b] = struct{}{}
	}
	d.public.roots[m.Root] = true
}

// unpublicise ends that. Blocks that another public dataset has as well stay public.
func (d *Data) unpublicise(m *shoal.Manifest) {
	d.public.mu.Lock()
	if !d.public.roots[m.Root] {
		d.public.mu.Unlock()
		return
	}
	d.public.blocks, d.public.roots = nil, nil
	d.public.mu.Unlock()
	for _, s := range d.all() {
		if s.m.Public && s.Gone == 0 {
			d.publicise(context.Background(), s.m)
		}
	}
}

func cidsOf(m *shoal.Manifest) (out []cid.Cid) {
	for _, p := range m.Partitions {
		out = append(out, p.CID)
	}
	return out
}
