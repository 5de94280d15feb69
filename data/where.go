package data

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// query names a graph in data.held and data.manifest.
type query struct {
	Root []byte `cbor:"c"` // CID
}

// heldReply is what a peer says of its part of a graph.
type heldReply struct {
	Kept  []int  `cbor:"k,omitempty"` // partitions it keeps for the fabric, ascending
	Have  []int  `cbor:"h,omitempty"` // partitions it has, those in its cache included
	Bytes uint64 `cbor:"b"`           // of content it has
	Known bool   `cbor:"m,omitempty"` // it has the manifest
	Gone  int64  `cbor:"x,omitempty"` // Unix milliseconds: it heard that the dataset was released
	Put   int64  `cbor:"t,omitempty"` // Unix milliseconds of the latest put it heard of
	Extra []int  `cbor:"e,omitempty"` // partitions it keeps beyond the fabric's copies, ascending; it may drop them
	Root  []byte `cbor:"r,omitempty"` // CID of a dataset whose partition this is, and whose manifest it has
}

// holding is a heldReply and who said it.
type holding struct {
	peer       shoal.PeerID
	kept, have []int
	extra      []int
	root       cid.Cid // of what it is a partition of; undefined: it did not say
	bytes      uint64
	known      bool
	gone, put  int64
	asked      time.Time
}

// mine says what this node has of c: as a graph of its own, as a partition of one, or as a graph
// whose blocks happen to be here.
func (d *Data) mine(ctx context.Context, c cid.Cid) holding {
	h := holding{peer: d.Peers.Self(), asked: time.Now()}
	now := time.Now()
	d.mu.RLock()
	s := d.sets[c]
	places := d.parts[c]
	here := func(p cid.Cid, root *dataset, i int) (kept, have bool) {
		kept = root.Pinned || root.holds(i)
		own := d.sets[p]
		return kept, kept || root.extra(i) || root.whole(now) || own != nil && own.whole(now)
	}
	switch {
	case s != nil && s.Gone > 0:
		h.gone = s.Gone
	case s != nil:
		h.known, h.put = !s.Bare, s.Put
		for i, p := range s.m.Partitions {
			kept, have := here(p.CID, s, i)
			if kept {
				h.kept = append(h.kept, i)
			} else if s.extra(i) {
				h.extra = append(h.extra, i)
			}
			if have {
				h.have = append(h.have, i)
				h.bytes += p.Bytes
			}
		}
	}
	if len(h.have) == 0 {
		for _, at := range places {
			root := d.sets[at.root]
			if !root.Bare && at.root != c {
				h.root = at.root
			}
			if kept, have := here(c, root, at.index); have {
				h.have, h.bytes = []int{0}, root.m.Partitions[at.index].Bytes
				if kept {
					h.kept = []int{0}
				} else if root.extra(at.index) {
					h.extra = []int{0}
				}
			}
		}
	}
	known := s != nil || len(places) > 0
	d.mu.RUnlock()
	if len(h.have) == 0 && !known {
		if have, missing, err := d.Missing(ctx, c); err == nil && missing == 0 {
			h.have, h.bytes = []int{0}, have
		}
	}
	return h
}

func (d *Data) serveHeld(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	c, err := parseQuery(req)
	if err != nil {
		return nil, err
	}
	h := d.mine(ctx, c)
	r := heldReply{Kept: h.kept, Have: h.have, Bytes: h.bytes, Known: h.known, Gone: h.gone, Put: h.put, Extra: h.extra}
	if h.root.Defined() {
		r.Root = h.root.Bytes()
	}
	return wire.Marshal(r), nil
}

func (d *Data) serveManifest(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	c, err := parseQuery(req)
	if err != nil {
		return nil, err
	}
	if s := d.know(c); s != nil && !s.Bare && s.Gone == 0 {
		return wire.Marshal(*s.m), nil
	}
	return nil, shoal.E(shoal.NotFound, "manifest of "+c.String(), "not known here", "")
}

func parseQuery(req []byte) (cid.Cid, error) {
	var q query
	if err := wire.Unmarshal("question for a dataset", req, &q); err != nil {
		return cid.Undef, err
	}
	return pieces.ParseCID(q.Root)
}

// ask asks one peer what it has of c.
func (d *Data) ask(ctx context.Context, p shoal.PeerID, c cid.Cid) (holding, error) {
	if p == d.Peers.Self() {
		return d.mine(ctx, c), nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.HeldTimeout)
	defer cancel()
	reply, err := d.Peers.Ask(ctx, p, "data.held", wire.Marshal(query{c.Bytes()}))
	if err != nil {
		return holding{}, err
	}
	var r heldReply
	if err := wire.Unmarshal("answer for a dataset", reply, &r); err != nil {
		return holding{}, err
	}
	for _, list := range [][]int{r.Kept, r.Have, r.Extra} {
		for i, n := range list {
			if n < 0 || n >= maxPartitions || i > 0 && n <= list[i-1] {
				return holding{}, shoal.E(shoal.Invalid, "answer for a dataset", "impossible partitions", "")
			}
		}
	}
	h := holding{
		peer: p, kept: r.Kept, have: r.Have, extra: r.Extra, bytes: r.Bytes, known: r.Known, gone: r.Gone, put: r.Put, asked: time.Now(),
	}
	if len(r.Root) > 0 {
		if h.root, err = pieces.ParseCID(r.Root); err != nil {
			return holding{}, err
		}
	}
	return h, nil
}

// survey asks everybody who may have c, those in also among them, and calls f, one call at a time,
// with what each says. It returns when all have answered or had their time, and names those that were
// silent. Peers that the directory names are asked while it still looks.
func (d *Data) survey(
	ctx context.Context, c cid.Cid, f func(h holding), also ...shoal.PeerID,
) (silent []shoal.PeerID) {
	return d.askAll(ctx, c, f, true, also...)
}

// askAll is survey, with the directory or without: a lookup asks many for what is known here, as a rule.
func (d *Data) askAll(
	ctx context.Context, c cid.Cid, f func(h holding), look bool, also ...shoal.PeerID,
) (silent []shoal.PeerID) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		asked = map[shoal.PeerID]bool{}
	)
	ask := func(p shoal.PeerID) {
		if p == "" || asked[p] {
			return
		}
		asked[p] = true
		wg.Go(func() {
			h, err := d.ask(ctx, p, c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				d.log.Debug("a holder does not answer", "peer", p, "cid", c, "err", err)
				silent = append(silent, p)
				return
			}
			f(h)
		})
	}
	ask(d.Peers.Self())
	for _, p := range append(d.hints(c), also...) {
		ask(p)
	}
	if !look {
		wg.Wait()
		return silent
	}
	find, cancel := context.WithTimeout(ctx, d.cfg.FindTimeout)
	defer cancel()
	for p, err := range d.Directory.Find(find, shoal.DataKey(c), 0) {
		if err != nil {
			d.log.Debug("lookup", "cid", c, "err", err)
			continue
		}
		ask(p)
	}
	wg.Wait()
	return silent
}

// hints lists peers that were once asked to keep c, or the dataset it is a partition of.
func (d *Data) hints(c cid.Cid) (out []shoal.PeerID) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	add := func(s *dataset) {
		if s == nil {
			return
		}
		for _, p := range s.Peers {
			out = append(out, shoal.PeerID(p))
		}
	}
	add(d.sets[c])
	for _, at := range d.parts[c] {
		if at.root != c {
			add(d.sets[at.root])
		}
	}
	return out
}

// locate surveys c and finds its manifest. Without one it makes one up, whose only partition is c.
func (d *Data) locate(ctx context.Context, c cid.Cid) ([]holding, *shoal.Manifest, error) {
	var found []holding
	d.survey(ctx, c, func(h holding) {
		if len(h.have) > 0 {
			found = append(found, h)
		}
	})
	slices.SortFunc(found, func(a, b holding) int {
		switch {
		case a.peer < b.peer:
			return -1
		case a.peer > b.peer:
			return 1
		}
		return 0
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, shoal.Wrap(shoal.Canceled, "find "+c.String(), err)
	}
	s := d.know(c)
	if s != nil && !s.Bare && s.Gone == 0 {
		return clip(found, s.m), s.m, nil
	}
	for _, h := range found {
		if !h.known || h.peer == d.Peers.Self() {
			continue
		}
		m, err := d.askManifest(ctx, h.peer, c)
		if err == nil {
			return clip(found, m), m, nil
		}
		d.log.Warn("manifest", "root", c, "peer", h.peer, "err", err)
	}
	if len(found) == 0 {
		return nil, nil, shoal.E(shoal.NotFound, "find "+c.String(), "no peer that could be reached has it",
			"check the CID, and that its holders run")
	}
	m := bare(c, slices.MaxFunc(found, func(a, b holding) int { return len(a.have) - len(b.have) }).bytes)
	if s := d.partition(c); s != nil {
		m = s
	}
	return clip(found, m), m, nil
}

// clip drops partitions that the manifest does not have.
func clip(found []holding, m *shoal.Manifest) []holding {
	beyond := func(i int) bool { return i >= len(m.Partitions) }
	out := found[:0]
	for _, h := range found {
		h.kept, h.have, h.extra = slices.DeleteFunc(h.kept, beyond), slices.DeleteFunc(h.have, beyond), slices.DeleteFunc(h.extra, beyond)
		if len(h.have) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// partition returns the manifest of a partition of a dataset that this node knows, or nil.
func (d *Data) partition(c cid.Cid) *shoal.Manifest {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, at := range d.parts[c] {
		s := d.sets[at.root]
		if s.Bare {
			continue
		}
		m := bare(c, s.m.Partitions[at.index].Bytes)
		m.Name, m.Split, m.Public, m.Replicas = s.m.Name, s.m.Split, s.m.Public, s.m.Replicas
		return m
	}
	return nil
}

func (d *Data) askManifest(ctx context.Context, p shoal.PeerID, c cid.Cid) (*shoal.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*d.cfg.HeldTimeout)
	defer cancel()
	reply, err := d.Peers.Ask(ctx, p, "data.manifest", wire.Marshal(query{c.Bytes()}))
	if err != nil {
		return nil, err
	}
	m := new(shoal.Manifest)
	if err := wire.Unmarshal("manifest", reply, m); err != nil {
		return nil, err
	}
	if err := checkManifest(m); err != nil {
		return nil, err
	}
	if !m.Root.Equals(c) {
		return nil, shoal.E(shoal.Invalid, "manifest", "of another dataset", "")
	}
	return m, nil
}

// Where lists the peers that have parts of c, as they say themselves; peers that do not answer in
// time are left out. c may be a dataset, a partition, a module or any graph or block; what nobody
// announced is found only where it was put, or on this node. shoal.WithTrace shows the lookup.
// NotFound: nobody has any of it.
func (d *Data) Where(ctx context.Context, c cid.Cid) ([]shoal.Holder, shoal.Manifest, error) {
	if err := checkGraph("where", c); err != nil {
		return nil, shoal.Manifest{}, err
	}
	found, m, err := d.locate(ctx, c)
	if err != nil {
		return nil, shoal.Manifest{}, err
	}
	var out []shoal.Holder
	for _, h := range found {
		holder := shoal.Holder{Peer: h.peer, Partitions: h.have, Extra: h.extra, Asked: h.asked}
		for _, i := range h.have {
			holder.Bytes += m.Partitions[i].Bytes
		}
		out = append(out, holder)
	}
	return out, *m, nil
}

// Manifest returns the manifest of a dataset or partition: this node's own, or one asked from a
// holder. For a graph that nobody put on this fabric it is computed, which reads the graph's inner
// nodes from wherever they are.
func (d *Data) Manifest(ctx context.Context, c cid.Cid) (shoal.Manifest, error) {
	if err := checkGraph("manifest", c); err != nil {
		return shoal.Manifest{}, err
	}
	if s := d.know(c); s != nil && !s.Bare && s.Gone == 0 {
		return *s.m, nil
	}
	if m := d.partition(c); m != nil {
		return *m, nil
	}
	_, m, err := d.locate(ctx, c)
	switch {
	case err == nil && (len(m.Partitions) > 1 || m.Name != ""):
		return *m, nil
	case err != nil && shoal.KindOf(err) != shoal.NotFound:
		return shoal.Manifest{}, err
	}
	defer d.Store.begin()()
	computed, err := d.Graph.Partition(ctx, c, d.reader(c), shoal.SplitAuto, 0)
	if err != nil {
		return shoal.Manifest{}, shoal.Wrap(shoal.NotFound, "manifest of "+c.String(), err)
	}
	computed.Replicas = 1
	return computed, nil
}

// Entry is one name in a folder.
type Entry struct {
	Name  string
	Dir   bool
	Link  string // target of a symbolic link
	Bytes uint64 // of a file
	CID   cid.Cid
}

// List returns the entries of the folder that the path sub leads to in the graph c, or of the graph
// itself; for a file, that file. It fetches inner nodes as it needs them, and no content.
func (d *Data) List(ctx context.Context, c cid.Cid, sub string) ([]Entry, error) {
	what := "list " + c.String()
	if err := checkGraph("list", c); err != nil {
		return nil, err
	}
	if sub = strings.Trim(sub, "/"); sub == "" {
		sub = "."
	}
	if !fs.ValidPath(sub) {
		return nil, shoal.E(shoal.Invalid, what, "path '"+sub+"' leaves the folder", "leave out '..'")
	}
	name := d.name(c)
	if s := d.know(c); s == nil {
		if m, err := d.Manifest(ctx, c); err == nil && m.Name != "" {
			name = m.Name
		}
	}
	t, err := d.Graph.Tree(ctx, c, name, d.reader(c))
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	info, err := fs.Stat(t, sub)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, shoal.E(shoal.NotFound, what, "'"+sub+"' is not in it", "list the folder above it")
	}
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	if !info.IsDir() {
		at, err := t.CID(sub)
		return []Entry{{Name: path.Base(sub), Bytes: uint64(info.Size()), CID: at}}, shoal.Wrap(shoal.Internal, what, err)
	}
	entries, err := t.ReadDir(sub)
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	out := make([]Entry, 0, len(entries))
	for _, e := range entries {
		at := path.Join(sub, e.Name())
		entry := Entry{Name: e.Name(), Dir: e.IsDir()}
		if e.Type()&fs.ModeSymlink != 0 {
			entry.Link, err = t.ReadLink(at)
		} else {
			if info, infoErr := e.Info(); infoErr == nil && !e.IsDir() {
				entry.Bytes = uint64(info.Size())
			}
			entry.CID, err = t.CID(at)
		}
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, what, err)
		}
		out = append(out, entry)
	}
	return out, nil
}
