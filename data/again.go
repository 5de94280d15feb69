package data

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// again looks whether the dataset is in the fabric already, and if so has this put build on it: the cut
// stays, since holders count partitions by it; who keeps a part is asked to go on, under the new terms;
// and terms that were not named in o stay as they were.
func (p *placing) again(ctx context.Context, o PutOptions) error {
	d, m := p.d, p.m
	var found []holding
	d.survey(ctx, m.Root, func(h holding) {
		p.at = max(p.at, h.put+1, h.gone+1)
		if len(h.kept) > 0 && h.known {
			found = append(found, h)
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b holding) int { // the latest terms first
		if a.put != b.put {
			return int(min(max(b.put-a.put, -1), 1))
		}
		return strings.Compare(string(a.peer), string(b.peer))
	})
	old := d.terms(ctx, m.Root, found)
	if old == nil {
		return nil
	}
	if !slices.Equal(old.Partitions, m.Partitions) {
		if o.Split != "" || o.PartitionBytes > 0 {
			p.warnings = append(p.warnings, fmt.Sprintf("it is in the fabric already, cut into %d partitions, "+
				"and stays so: 'shoal unpin' it first to cut it otherwise", len(old.Partitions)))
		}
		m.Split, m.Partitions = old.Split, old.Partitions
		for _, part := range m.Partitions { // their inner nodes are not those of the new cut
			if _, err := d.part(ctx, part.CID, peersOf(found)); err != nil {
				return err
			}
		}
	}
	if o.Name == "" {
		m.Name = old.Name
	}
	if o.Needs == "" {
		m.Needs = old.Needs
	}
	m.Public = m.Public || old.Public
	if o.Replicas == 0 {
		m.Replicas = max(m.Replicas, old.Replicas)
	}
	p.first = map[shoal.PeerID][]int{}
	for _, h := range found {
		if s := d.know(m.Root); h.peer == d.Peers.Self() && s != nil && s.Open {
			continue
		}
		h.kept = slices.DeleteFunc(h.kept, func(i int) bool { return i >= len(m.Partitions) })
		if len(h.kept) > 0 {
			p.first[h.peer] = h.kept
		}
	}
	return nil
}

// terms returns the manifest of the first holder that tells it, or nil.
func (d *Data) terms(ctx context.Context, root cid.Cid, found []holding) *shoal.Manifest {
	for _, h := range found {
		if s := d.know(root); s != nil && h.peer == d.Peers.Self() {
			return s.m
		}
		if m, err := d.askManifest(ctx, h.peer, root); err == nil {
			return m
		}
	}
	return nil
}

func peersOf(found []holding) (out []shoal.PeerID) {
	for _, h := range found {
		out = append(out, h.peer)
	}
	return out
}
