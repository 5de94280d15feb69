package agents

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// wish says what keepers are wanted.
type wish struct {
	needs   string // what each must fulfil
	salt    string // decides among peers that are equally good
	n       int
	near    []shoal.PeerID // rather these, the first best
	without []shoal.PeerID
	beside  []shoal.PeerID // who keep it already, and go on
}

// chosen is what can be had, and why others cannot.
type chosen struct {
	keepers []group.Keeper
	not     []string
	perhaps bool // somebody who cannot now may in a moment
}

// reasons says who was left out, and why, in words that follow others.
func (c chosen) reasons() string {
	if len(c.not) == 0 {
		return ""
	}
	const most = 8
	list := c.not
	if len(list) > most {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(c.not)-most))
	}
	return ": " + strings.Join(list, ", ")
}

// choose returns up to n peers that will keep an agent: those that are preferred, then this node, as who makes an
// agent is likely to call it, then others in zones where nobody else keeps it, by the hash of salt.
func (a *Agents) choose(ctx context.Context, w wish) (out chosen, err error) {
	self := a.self()
	var fit []shoal.Member
	zones, asked := map[string]bool{}, map[shoal.PeerID]bool{}
	for _, m := range append(a.Members.Table(), self) {
		if slices.Contains(w.beside, m.ID) {
			zones[m.Attributes.Labels["zone"]] = true
		}
		switch {
		case slices.Contains(w.without, m.ID):
		case m.State != shoal.Alive:
			out.not = append(out.not, m.ID.Short()+" is "+string(m.State))
			out.perhaps = out.perhaps || m.State == shoal.Suspect
		case a.departs(m.ID):
			out.not = append(out.not, m.ID.Short()+" is leaving")
		default:
			if why := a.unfit(w.needs, m); why != "" {
				out.not = append(out.not, m.ID.Short()+" does not fit ("+why+")")
				continue
			}
			fit = append(fit, m)
		}
	}
	order := func(p shoal.PeerID) (int, uint64) {
		if i := slices.Index(w.near, p); i >= 0 {
			return i, 0
		}
		if p == self.ID {
			return len(w.near), 0
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(w.salt))
		_, _ = h.Write([]byte(p))
		return len(w.near) + 1, h.Sum64()
	}
	slices.SortFunc(fit, func(x, y shoal.Member) int {
		xi, xh := order(x.ID)
		yi, yh := order(y.ID)
		return cmp.Or(cmp.Compare(xi, yi), cmp.Compare(xh, yh), cmp.Compare(x.ID, y.ID))
	})
	for _, apart := range []bool{true, false} {
		for _, m := range fit {
			zone := m.Attributes.Labels["zone"]
			if len(out.keepers) >= w.n || asked[m.ID] || apart && zone != "" && zones[zone] {
				continue
			}
			asked[m.ID] = true
			k, err := a.askKeeper(ctx, m.ID)
			if err != nil {
				out.not = append(out.not, m.ID.Short()+" does not answer")
				out.perhaps = true
				continue
			}
			zones[zone] = true
			out.keepers = append(out.keepers, k)
		}
	}
	return out, ctx.Err()
}

// askKeeper asks a peer whether it would keep an agent, and on which disk.
func (a *Agents) askKeeper(ctx context.Context, p shoal.PeerID) (k group.Keeper, err error) {
	if p == a.Peers.Self() {
		return group.Keeper{Peer: p, Store: a.store.name}, nil
	}
	store, err := a.storeOf(ctx, p)
	return group.Keeper{Peer: p, Store: store}, err
}
