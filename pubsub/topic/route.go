package topic

import (
	"cmp"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal/expr"
)

// Route says of a topic's messages who gets them. It is made of a View's bindings and does not change; any number of goroutines may
// use it.
type Route struct {
	Version uint64
	Groups  []*Group // in order of their consumers' names
}

// Group is what gets a message once: a binding of the mode each, or those that share a group. It has one position in a durable
// topic's log.
type Group struct {
	Consumer string
	Mode     string
	Name     string
	Members  []Member // in order of IDs
}

// Member is a binding that is ready to be asked.
type Member struct {
	Binding
	filter, key *expr.OnMessage
}

// NewRoute compiles bindings. One whose expressions cannot be compiled gets nothing: whoever bound it was told.
func NewRoute(v *View) *Route {
	r := &Route{Version: v.Version}
	by := map[string]*Group{}
	for _, b := range v.Bindings {
		m := Member{Binding: b}
		var err error
		if m.filter, err = expr.CompileFilter(b.Filter); err != nil {
			continue
		}
		if m.key, err = expr.CompileKey(b.Key); err != nil {
			continue
		}
		name := b.Consumer()
		g := by[name]
		if g == nil {
			g = &Group{Consumer: name, Mode: b.Mode, Name: b.Group}
			by[name] = g
			r.Groups = append(r.Groups, g)
		}
		g.Members = append(g.Members, m)
	}
	slices.SortFunc(r.Groups, func(a, b *Group) int { return cmp.Compare(a.Consumer, b.Consumer) })
	for _, g := range r.Groups {
		slices.SortFunc(g.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	}
	return r
}

// Delivers reports whether any message is to be brought to anything, not counting those that answer.
func (r *Route) Delivers() bool {
	return slices.ContainsFunc(r.Groups, func(g *Group) bool { return g.Mode != Ask })
}

// Letter is what expressions see of a message.
func (m *Message) Letter() *expr.Letter {
	return &expr.Letter{Body: m.Body, Key: m.Key, Publisher: m.Publisher, Data: m.Data}
}

// Pick returns the members that a message may go to, in the order in which they are to be tried, and its lane: messages of one
// lane are processed one after the other, in their order. "": in no order. No members: the filters let none have it.
//
// The order is that of rendezvous hashing (Thaler and Ravishankar, 1998) of the key, or of the message's ID without one: while a
// group is the same, messages of one key go to the same member, and when a member goes only its messages find others.
func (g *Group) Pick(m *Message, l *expr.Letter) (members []*Member, lane string) {
	for i := range g.Members {
		if g.Members[i].filter.Holds(l) {
			members = append(members, &g.Members[i])
		}
	}
	if len(members) == 0 {
		return nil, ""
	}
	key := g.Members[0].key.Of(l)
	switch {
	case key != "":
		lane = "k" + key
	case g.Mode == Each && members[0].Kind == Agent:
		lane = "p" + m.Publisher // its messages come in order, as it sent them
	}
	if len(members) > 1 {
		by := key
		if by == "" {
			by = m.ID()
		}
		weights := make(map[string]uint64, len(members))
		for _, x := range members {
			weights[x.ID] = weigh(x.ID, by)
		}
		slices.SortFunc(members, func(a, b *Member) int {
			return cmp.Or(cmp.Compare(weights[b.ID], weights[a.ID]), strings.Compare(a.ID, b.ID))
		})
	}
	return members, lane
}

// weigh is the same on all nodes.
func weigh(member, by string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, s := range []string{member, "\x00", by} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	// FNV alone mixes the last bytes little: finish as SplitMix64 does (Steele, Lea, Flood 2014).
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
