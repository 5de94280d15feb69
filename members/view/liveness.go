package view

import (
	"cmp"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Contact notes that id answered this node: the proof of a link that works both ways. It ends all
// suspicion.
func (v *View) Contact(id shoal.PeerID, now time.Time) {
	if e := v.rows[id]; e != nil && e.rec != nil {
		if !e.failing.IsZero() || e.last != shoal.Alive {
			v.since.look(e)
		}
		e.contact, e.failing, e.tries, e.next = now, time.Time{}, 0, time.Time{}
	}
}

// Broke notes that the connection to id ended. That alone says nothing, but is worth a call: ok says
// that id is a member and was picked as by Calls, for the caller to call at addresses.
func (v *View) Broke(id shoal.PeerID, now time.Time) (addresses []string, ok bool) {
	e := v.rows[id]
	if e == nil || e.rec == nil || id == v.cfg.Self {
		return nil, false
	}
	e.tries, e.next = 0, now.Add(lastWait)
	return e.rec.Addresses, true
}

// state is this node's opinion of a member.
func (v *View) state(e *entry, now time.Time) shoal.MemberState {
	switch {
	case e.rec == nil && e.gone != nil:
		return e.gone.State()
	case e.rec == nil:
		return shoal.Down
	case e.id == v.cfg.Self:
		return shoal.Alive
	}
	ttl := time.Duration(e.rec.TTL) * time.Second
	if e.failing.IsZero() {
		switch silent := now.Sub(later(e.contact, e.heard)); {
		case silent <= max(ttl, v.cfg.SuspectAfter):
			return shoal.Alive
		case silent <= 2*ttl:
			return shoal.Suspect
		}
		return shoal.Down
	}
	// It fails to answer. As long as others have news of it, only the way to it is broken.
	switch silent := now.Sub(e.contact); {
	case silent < v.cfg.SuspectAfter:
		return shoal.Alive
	case silent >= v.cfg.DownAfter && now.Sub(e.heard) > ttl:
		return shoal.Down
	}
	return shoal.Suspect
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// member returns the row as others see it.
func (v *View) member(e *entry, now time.Time) shoal.Member {
	m := shoal.Member{ID: e.id}
	if e.rec != nil {
		m = e.rec.Member(e.id)
		m.Seen = later(e.contact, e.heard)
	} else if e.gone != nil {
		m.Seen = e.goneAt
	}
	if e.id == v.cfg.Self {
		m.Seen = now
	}
	m.State = v.state(e, now)
	return m
}

// Has reports whether there is a row of id, which may have departed.
func (v *View) Has(id shoal.PeerID) bool { return v.rows[id] != nil }

// Lookup returns the row of id, also when it departed. Slices and maps in it must not be changed.
func (v *View) Lookup(id shoal.PeerID, now time.Time) (shoal.Member, bool) {
	e := v.rows[id]
	if e == nil {
		return shoal.Member{}, false
	}
	return v.member(e, now), true
}

// Members returns the rows of all who have not departed, this node included, by ID. Slices and maps
// in them must not be changed.
func (v *View) Members(now time.Time) []shoal.Member { return v.members("", now) }

// Others is Members without this node.
func (v *View) Others(now time.Time) []shoal.Member { return v.members(v.cfg.Self, now) }

func (v *View) members(but shoal.PeerID, now time.Time) []shoal.Member {
	out := make([]shoal.Member, 0, v.live)
	for _, e := range v.order {
		if e.rec != nil && e.id != but {
			out = append(out, v.member(e, now))
		}
	}
	return out
}

// Changes returns the rows, departed ones included, whose record or state is another than when
// Changes was last called, by ID. What time alone changes is told 250 ms late at most.
func (v *View) Changes(now time.Time) []shoal.Member {
	v.refresh(now)
	var out []shoal.Member
	list, _ := v.since.after(v.told, v.order)
	v.told = v.since.mark
	for _, e := range list {
		s, ver := v.state(e, now), e.recVer
		if e.rec == nil {
			ver = e.goneVer
		}
		if s != e.shown || ver != e.shownAt {
			e.shown, e.shownAt = s, ver
			out = append(out, v.member(e, now))
		}
	}
	slices.SortFunc(out, func(a, b shoal.Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Prune drops rows that have been Down for too long and departures that need no longer be known,
// and returns whose. Without a table rows go ten minutes after the last contact, down to 16.
func (v *View) Prune(now time.Time) (dropped []shoal.PeerID) {
	keep, least := v.cfg.Keep, 0
	if !v.cfg.Table {
		keep, least = 10*time.Minute, 16
	}
	for _, e := range v.rows {
		if e.id == v.cfg.Self {
			continue
		}
		if e.rec != nil && v.live > least && v.state(e, now) == shoal.Down &&
			now.Sub(later(e.contact, e.heard)) > keep {
			v.dropRecord(e, now)
		}
		if e.gone != nil && !e.gone.Forgotten && now.Sub(time.UnixMilli(e.gone.At)) > v.cfg.Keep {
			v.sum ^= e.hash(v.cfg.Table)
			e.gone, e.goneVer = nil, version{}
			v.sum ^= e.hash(v.cfg.Table)
			delete(v.rumours, rumourKey{e.id, KindDeparture})
		}
		if e.rec == nil && e.gone == nil {
			delete(v.rows, e.id)
			if at, ok := v.find(e.id); ok {
				v.order = slices.Delete(v.order, at, at+1)
			}
			v.since.mark++
			v.since.dropped = v.since.mark
			dropped = append(dropped, e.id)
		}
	}
	slices.Sort(dropped)
	return dropped
}
