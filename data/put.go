package data

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/spread"
)

// Progress is how far a long operation is.
type Progress struct {
	Phase string // "import", "spread", "fetch", "write", "drain"
	Done  uint64 // bytes
	Total uint64 // bytes; 0: unknown
	Item  string // the file or peer at hand
}

// PutOptions say how a dataset is kept.
type PutOptions struct {
	Name           string // instead of the path's base name
	Replicas       int    // copies of each partition; 0: Config.Replicas, at most one per member
	Needs          string // what a member must fulfil to be given copies, in CEL; "": nothing
	Split          shoal.Split
	Public         bool  // strangers may read it by bitswap
	PartitionBytes int64 // wished bytes of a partition; 0: a 64th of the whole, from 64 KiB to 64 MiB
	LeafBytes      int64 // bytes of a leaf at most; 0: 1 MiB
	InPlace        bool  // read it where it lies instead of copying it: this node holds all of it then
	Visible        bool  // leave out of a folder what has a name that begins with a dot
	// Progress is told now and then, one call at a time; it holds up the put while it runs.
	Progress func(Progress)
}

// PutResult is what came of a Put.
type PutResult struct {
	Manifest shoal.Manifest
	Holders  []shoal.Holder // those that said they keep it durably, this node included
	Short    int            // copies of partitions that could not be placed
	Warnings []string       // why, in words for the user
	Seconds  float64
}

// Put stores a file or folder and spreads its partitions: when it returns without error each lies
// durably on Replicas peers, or on as many as Short and Warnings say, one at least. A put that broke
// off resumes when it is repeated; one of a dataset that is in the fabric already changes its terms, and
// moves only what that takes. The copy of partitions that other peers keep is dropped here, unless the
// dataset is public or put in place: then this node is one of the Replicas, and keeps all of it.
func (d *Data) Put(ctx context.Context, path string, o PutOptions) (PutResult, error) {
	start := time.Now()
	if o.Replicas < 0 || o.Replicas > maxReplicas {
		return PutResult{}, shoal.E(shoal.Invalid, "put "+path, "an impossible number of replicas",
			fmt.Sprintf("ask for 1 to %d", maxReplicas))
	}
	if err := d.checkNeeds("put "+path, o.Needs); err != nil {
		return PutResult{}, err
	}
	end := d.Store.begin()
	defer end()
	m, err := d.Graph.Import(ctx, path, ImportOptions{
		Split: o.Split, LeafBytes: o.LeafBytes, PartitionBytes: o.PartitionBytes, InPlace: o.InPlace, Visible: o.Visible,
		Progress: func(done, total int64, file string) {
			if o.Progress != nil {
				o.Progress(Progress{"import", uint64(done), uint64(total), file})
			}
		},
	})
	if err != nil {
		return PutResult{}, err
	}
	if m.Public = o.Public; o.Name != "" {
		m.Name = o.Name
	}
	m.Needs = o.Needs
	fit, _ := d.fitting(m.Needs, d.alive())
	if m.Replicas = o.Replicas; m.Replicas == 0 {
		m.Replicas = min(d.cfg.Replicas, max(1, len(fit)))
	}
	if err := checkManifest(&m); err != nil {
		return PutResult{}, err
	}
	p := &placing{d: d, m: &m, at: time.Now().UnixMilli(), progress: o.Progress, local: true}
	if err := p.again(ctx, o); err != nil {
		return PutResult{}, shoal.Wrap(shoal.Internal, "put "+path, err)
	}
	p.want = m.Replicas
	if err := p.takeAll(); err != nil {
		return PutResult{}, shoal.Wrap(shoal.Internal, "put "+path, err)
	}
	if o.InPlace || m.Public { // one address for strangers to fetch all of it from
		p.keptHere()
	}
	if err := p.place(ctx); err != nil {
		return PutResult{}, shoal.Wrap(shoal.Internal, "put "+path, err)
	}
	end() // what was only imported to be sent on may go now
	if err := p.settle(ctx); err != nil {
		return PutResult{}, shoal.Wrap(shoal.Internal, "put "+path, err)
	}
	return PutResult{
		Manifest: m, Holders: p.holders(), Short: p.short(), Warnings: p.warnings,
		Seconds: time.Since(start).Seconds(),
	}, nil
}

// Adopt imports a file or folder that this node made: its blocks stay for Config.Lease, so that they
// can be fetched, and are neither spread nor announced. It returns the root and the bytes of content.
func (d *Data) Adopt(ctx context.Context, path string) (cid.Cid, uint64, error) {
	defer d.Store.begin()()
	m, err := d.Graph.Import(ctx, path, ImportOptions{})
	if err != nil {
		return cid.Undef, 0, err
	}
	m.Replicas = 1
	if err := checkManifest(&m); err != nil {
		return cid.Undef, 0, err
	}
	_, err = d.update(&m, func(r *role) {
		r.Bare, r.Gone = false, 0
		r.Lease = max(r.Lease, time.Now().Add(d.cfg.Lease).Unix())
	})
	return m.Root, m.Bytes, shoal.Wrap(shoal.Internal, "adopt "+path, err)
}

// alive lists the members that may be given data, this node first.
func (d *Data) alive() []shoal.Member {
	self := shoal.Member{ID: d.Peers.Self(), State: shoal.Alive}
	var out []shoal.Member
	for _, m := range d.Members() {
		switch {
		case m.ID == self.ID:
			self.Attributes, self.Load = m.Attributes, m.Load
		case m.State == shoal.Alive:
			out = append(out, m)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return append([]shoal.Member{self}, out...)
}

// candidates turns members into peers of a spreading problem, without those in except.
func (d *Data) candidates(members []shoal.Member, local bool, except map[shoal.PeerID]error) []spread.Peer {
	var out []spread.Peer
	for _, m := range members {
		if except[m.ID] != nil {
			continue
		}
		p := spread.Peer{ID: m.ID, Zone: m.Attributes.Labels["zone"], Free: spread.Unknown}
		if self := m.ID == d.Peers.Self(); self {
			p.Local = local
			if free, err := d.freeBytes(); err == nil && !local {
				p.Free = free
			}
		} else if m.Load.DiskFree > 0 {
			p.Free = m.Load.DiskFree
		}
		out = append(out, p)
	}
	return out
}

func (d *Data) freeBytes() (uint64, error) {
	if d.Free == nil {
		return spread.Unknown, nil
	}
	return d.Free()
}

// placing brings partitions to their holders: for a put, a repair or a drain.
type placing struct {
	d        *Data
	m        *shoal.Manifest
	at       int64 // the put's time
	progress func(Progress)
	want     int                    // copies of each partition
	only     map[int]bool           // the partitions at stake; nil: all
	first    map[shoal.PeerID][]int // who is asked before any other; nil: nobody
	local    bool                   // this node has all of it, and may be one of the holders

	mu       sync.Mutex
	kept     []map[shoal.PeerID]bool // by partition: who keeps it durably
	failed   map[shoal.PeerID]error
	sent     map[shoal.PeerID]uint64
	total    uint64
	warnings []string
}

// takeAll makes this node a holder of everything, so that a crash from here on loses nothing.
func (p *placing) takeAll() error {
	_, err := p.d.update(p.m, func(r *role) {
		for i := range p.m.Partitions {
			r.set(i, true)
		}
		p.at = max(p.at, r.Gone+1, r.Put+1)
		r.Bare, r.Open, r.Put, r.Gone = false, true, p.at, 0
	})
	return err
}

// keptHere has this node be a holder of everything for good: what lies in place takes no space.
func (p *placing) keptHere() {
	p.kept = nobody(len(p.m.Partitions))
	for _, at := range p.kept {
		at[p.d.Peers.Self()] = true
	}
}

// nobody is n partitions that no peer keeps yet.
func nobody(n int) []map[shoal.PeerID]bool {
	out := make([]map[shoal.PeerID]bool, n)
	for i := range out {
		out[i] = map[shoal.PeerID]bool{}
	}
	return out
}

// place asks peers to keep partitions until each has its replicas, or nobody is left to ask.
func (p *placing) place(ctx context.Context) error {
	p.failed, p.sent = map[shoal.PeerID]error{}, map[shoal.PeerID]uint64{}
	if p.kept == nil {
		p.kept = nobody(len(p.m.Partitions))
	}
	plan := p.first
	for {
		if len(plan) == 0 {
			plan = p.plan()
		}
		if len(plan) == 0 {
			return ctx.Err()
		}
		var wg sync.WaitGroup
		for peer, parts := range plan {
			wg.Go(func() {
				if err := p.send(ctx, peer, parts); err != nil {
					p.mu.Lock()
					defer p.mu.Unlock()
					p.failed[peer] = err
					p.warnings = append(p.warnings, fmt.Sprintf("peer %s could not keep its part: %v", peer.Short(), err))
				}
			})
		}
		wg.Wait()
		if err := ctx.Err(); err != nil {
			return err
		}
		plan = nil
	}
}

// plan says who is to keep which partitions in addition to those that do.
func (p *placing) plan() map[shoal.PeerID][]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	fit, _ := p.d.fitting(p.m.Needs, p.d.alive())
	peers := p.d.candidates(fit, p.local, p.failed)
	if !p.local {
		peers = slices.DeleteFunc(peers, func(q spread.Peer) bool { return q.ID == p.d.Peers.Self() })
	}
	index := map[shoal.PeerID]int{}
	for i, peer := range peers {
		index[peer.ID] = i
	}
	q := spread.Problem{
		Salt: p.m.Root.KeyString(), Peers: peers, Replicas: p.want,
		Parts: make([]uint64, len(p.m.Partitions)), Have: make([][]int, len(p.m.Partitions)),
	}
	for i, part := range p.m.Partitions {
		q.Parts[i] = part.Bytes
		for peer := range p.kept[i] {
			n, ok := index[peer]
			if !ok { // keeps it, and is given no more
				n = len(q.Peers)
				index[peer] = n
				q.Peers = append(q.Peers, spread.Peer{ID: peer})
			}
			q.Have[i] = append(q.Have[i], n)
		}
	}
	plan := map[shoal.PeerID][]int{}
	p.total = 0
	for i, at := range spread.Solve(q) {
		if p.only != nil && !p.only[i] {
			continue
		}
		for _, n := range at[len(q.Have[i]):] {
			id := q.Peers[n].ID
			plan[id] = append(plan[id], i)
		}
		if others := len(at); others > 0 {
			p.total += q.Parts[i] * uint64(others)
		}
	}
	return plan
}

// send has one peer keep partitions.
func (p *placing) send(ctx context.Context, peer shoal.PeerID, parts []int) error {
	if peer == p.d.Peers.Self() {
		p.ack(peer, parts...)
		return nil
	}
	return p.d.askKeep(ctx, peer, keepRequest{
		Manifest: *p.m, Parts: parts, Put: p.at, Peers: p.hints(),
	}, func(done []int, moved uint64) {
		p.ack(peer, done...)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sent[peer] = moved
		p.tell(peer)
	})
}

// ack notes that a peer keeps partitions.
func (p *placing) ack(peer shoal.PeerID, parts ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range parts {
		p.kept[i][peer] = true
	}
	p.tell(peer)
}

// tell reports progress. The caller holds mu.
func (p *placing) tell(peer shoal.PeerID) {
	if p.progress == nil {
		return
	}
	var done uint64
	for i, at := range p.kept {
		done += p.m.Partitions[i].Bytes * uint64(len(at))
	}
	p.progress(Progress{"spread", min(done, p.total), p.total, peer.Short()})
}

// hints lists who has been given partitions, or is about to.
func (p *placing) hints() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.kept {
		for peer := range at {
			out = append(out, string(peer))
		}
	}
	out = append(out, string(p.d.Peers.Self()))
	slices.Sort(out)
	return slices.Compact(out)
}

// short returns how many copies are missing.
func (p *placing) short() (n int) {
	for i, at := range p.kept {
		if p.only == nil || p.only[i] {
			n += max(0, p.want-len(at))
		}
	}
	return n
}

// settle leaves this node with the partitions it was given and those that too few others took.
func (p *placing) settle(ctx context.Context) error {
	self := p.d.Peers.Self()
	var dropped []cid.Cid
	for _, at := range p.kept {
		if len(at) < p.want && !at[self] {
			at[self] = true
		}
	}
	if n := p.short(); n > 0 {
		more := ""
		if _, out := p.d.fitting(p.m.Needs, p.d.alive()); len(out) > 0 {
			more = "; the requirement leaves out " + told(out)
		}
		p.warnings = append(p.warnings, fmt.Sprintf("%d of %d copies could not be placed; "+
			"they are made when more peers with space join%s", n, p.want*len(p.m.Partitions), more))
	}
	s, err := p.d.update(p.m, func(r *role) {
		for i := range p.m.Partitions {
			r.set(i, p.kept[i][self])
		}
		r.Peers, r.Open = p.hints(), false
	})
	if err != nil {
		return err
	}
	for i, part := range p.m.Partitions {
		if !p.kept[i][self] {
			dropped = append(dropped, part.CID)
		}
	}
	if s.m.Public {
		p.d.publicise(ctx, s.m)
	}
	p.d.announce(ctx, s)
	if len(dropped) > 0 {
		if _, _, err := p.d.collect(ctx, dropped, p.d.cfg.CacheBytes); err != nil {
			p.d.log.Warn("drop partitions that others keep", "root", p.m.Root, "err", err)
		}
	}
	return nil
}

// holders lists who keeps what.
func (p *placing) holders() (out []shoal.Holder) {
	by := map[shoal.PeerID]*shoal.Holder{}
	for i, at := range p.kept {
		for peer := range at {
			h := by[peer]
			if h == nil {
				h = &shoal.Holder{Peer: peer, Asked: time.Now()}
				by[peer] = h
			}
			h.Partitions = append(h.Partitions, i)
			h.Bytes += p.m.Partitions[i].Bytes
		}
	}
	for _, h := range by {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b shoal.Holder) int { return strings.Compare(string(a.Peer), string(b.Peer)) })
	return out
}
