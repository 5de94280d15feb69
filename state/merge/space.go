package merge

import (
	"cmp"
	"maps"
	"slices"
)

// Space is all objects of one fabric as one node knows them. It is not safe for concurrent use.
type Space struct {
	self    Replica
	seen    Seen
	cut     Seen // up to which number operations that only take away were forgotten
	objects map[Key]map[string][]*entry
	names   map[string]map[Key]bool // of the objects
	lanes   map[Replica]*lane
	bytes   int              // of the operations that are kept
	early   map[scope]uint64 // taken away before they came: up to which number
	clock   Time

	dirty  []*entry // since the last Drain
	marked map[Replica]bool
	news   map[Key]bool
}

// entry is an operation with its name. The operation is never changed, but may be replaced.
type entry struct {
	dot   Dot
	op    *Op
	disk  bool // a row of it was drained, or loaded
	dirty bool
	gone  bool // for good
}

// lane is the operations of one replica that are kept, in their order.
type lane struct {
	list []place
	kept int
}

// place is where an operation is, or was.
type place struct {
	seq uint64
	e   *entry // nil: it went
}

// find returns the place of an operation, or where one with that number would be.
func (l *lane) find(seq uint64) int {
	i, _ := slices.BinarySearchFunc(l.list, seq, func(p place, seq uint64) int { return cmp.Compare(p.seq, seq) })
	return i
}

// touch notes that the row of an entry is to be written.
func (s *Space) touch(e *entry) {
	if !e.dirty {
		e.dirty = true
		s.dirty = append(s.dirty, e)
	}
}

// scope is what of an object a replica's operations are about.
type scope struct {
	key     Key
	slot    string
	whole   bool // all of it
	replica Replica
}

// Row is what is to be written to disk: an operation, or that it is gone.
type Row struct {
	Dot Dot
	Op  *Op // nil: delete it
}

// Mark is what is to be written of a replica, after the rows.
type Mark struct {
	Replica   Replica
	Seen, Cut uint64
}

// Become gives the space another replica to make changes as, which must be new: for a disk that was set back to an
// earlier state, whose old replica has said things since that are not on it.
func (s *Space) Become(self Replica) { s.self = self }

// New makes a space that knows nothing. The caller sees to it that self is new, or that all it ever did is loaded.
func New(self Replica) *Space {
	return &Space{
		self: self, seen: Seen{}, cut: Seen{}, objects: map[Key]map[string][]*entry{}, names: map[string]map[Key]bool{}, lanes: map[Replica]*lane{},
		early: map[scope]uint64{}, marked: map[Replica]bool{}, news: map[Key]bool{},
	}
}

// Load takes in what Drain once gave: all marks, then all rows, those of a replica in ascending order.
func (s *Space) Load(m Mark) { s.seen[m.Replica], s.cut[m.Replica] = m.Seen, m.Cut }

// LoadRow is Load, of rows.
func (s *Space) LoadRow(d Dot, o *Op) {
	s.tick(o.At)
	s.keep(&entry{dot: d, op: o, disk: true})
}

// Drain returns what has changed since the last Drain: rows and marks for the disk, which are to be written in one
// piece, and the objects concerned. Nobody may be told of it before it is on disk.
func (s *Space) Drain() (rows []Row, marks []Mark, news []Key) {
	for _, e := range s.dirty {
		e.dirty = false
		switch {
		case !e.gone:
			rows = append(rows, Row{e.dot, e.op})
			e.disk = true
		case e.disk: // else it came and went meanwhile
			rows = append(rows, Row{e.dot, nil})
		}
	}
	clear(s.dirty)
	s.dirty = s.dirty[:0]
	for r := range s.marked {
		marks = append(marks, Mark{r, s.seen[r], s.cut[r]})
	}
	for k := range s.news {
		news = append(news, k)
	}
	clear(s.marked)
	clear(s.news)
	return rows, marks, news
}

// Seen returns a copy of what is known.
func (s *Space) Seen() Seen { return maps.Clone(s.seen) }

// Self returns the replica that this space changes.
func (s *Space) Self() Replica { return s.self }

// Len returns the numbers of objects, of operations that are kept, and of those that only take away.
func (s *Space) Len() (objects, ops, gone int) {
	for _, l := range s.lanes {
		for _, p := range l.list {
			if p.e != nil && p.e.op.Gone {
				gone++
			}
		}
		ops += l.kept
	}
	return len(s.objects), ops, gone
}

// Bytes is about how much memory all of it takes.
func (s *Space) Bytes() int { return s.bytes }

// keep puts an entry where it belongs.
func (s *Space) keep(e *entry) {
	l := s.lanes[e.dot.Replica]
	if l == nil {
		l = &lane{}
		s.lanes[e.dot.Replica] = l
	}
	l.list = append(l.list, place{e.dot.Seq, e})
	l.kept++
	s.bytes += e.op.cost()
	for _, d := range e.op.Drop {
		if d.Seq > s.seen[d.Replica] {
			c := scope{e.op.Key, e.op.slot(), e.op.Whole, d.Replica}
			s.early[c] = max(s.early[c], d.Seq)
		}
	}
	if e.op.Gone {
		return
	}
	slots := s.objects[e.op.Key]
	if slots == nil {
		slots = map[string][]*entry{}
		s.objects[e.op.Key] = slots
		if s.names[e.op.Key.Name] == nil {
			s.names[e.op.Key.Name] = map[Key]bool{}
		}
		s.names[e.op.Key.Name][e.op.Key] = true
	}
	slots[e.op.slot()] = append(slots[e.op.slot()], e)
}

// kill takes an operation's effect away. What it took away itself is remembered until all know. The caller tidies up.
func (s *Space) kill(e *entry) {
	slots := s.objects[e.op.Key]
	slot := e.op.slot()
	slots[slot] = slices.DeleteFunc(slots[slot], func(o *entry) bool { return o == e })
	s.news[e.op.Key] = true
	if len(e.op.Drop) > 0 {
		s.bytes -= e.op.cost()
		e.op = &Op{Seq: e.op.Seq, Key: e.op.Key, Item: e.op.Item, Drop: e.op.Drop, Gone: true}
		s.bytes += e.op.cost()
		s.touch(e)
		return
	}
	s.forget(e)
}

// tidy drops a slot in which nothing has an effect any more, and its object with the last.
func (s *Space) tidy(k Key, slot string) {
	slots := s.objects[k]
	if list, ok := slots[slot]; !ok || len(list) > 0 {
		return
	}
	if delete(slots, slot); len(slots) > 0 {
		return
	}
	delete(s.objects, k)
	if delete(s.names[k.Name], k); len(s.names[k.Name]) == 0 {
		delete(s.names, k.Name)
	}
}

// forget drops an entry for good.
func (s *Space) forget(e *entry) {
	l := s.lanes[e.dot.Replica]
	l.list[l.find(e.dot.Seq)].e = nil
	l.kept--
	s.bytes -= e.op.cost()
	e.gone = true
	s.touch(e)
	if len(l.list) > 2*l.kept+8 {
		l.list = slices.DeleteFunc(l.list, func(p place) bool { return p.e == nil })
	}
}

// apply has an operation take effect. The caller sees to it that it is the replica's next one.
func (s *Space) apply(r Replica, o *Op) {
	e := &entry{dot: Dot{r, o.Seq}, op: o}
	slots := s.objects[o.Key]
	end := func(d Dot) {
		if !o.Whole {
			s.end(slots[o.slot()], d)
			return
		}
		for _, list := range slots {
			s.end(list, d)
		}
	}
	for _, d := range o.Drop {
		end(d)
	}
	end(e.dot) // of its own all that came before
	s.settle(e, slots)
	if !o.Whole {
		s.tidy(o.Key, o.slot())
		return
	}
	for slot := range slots {
		s.tidy(o.Key, slot)
	}
}

// settle keeps an operation that has taken away what it does.
func (s *Space) settle(e *entry, slots map[string][]*entry) {
	r, o := e.dot.Replica, e.op
	s.tick(o.At)
	s.news[o.Key] = true
	if max(s.early[scope{o.Key, o.slot(), false, r}], s.early[scope{o.Key, "", true, r}]) >= o.Seq && !o.Gone { // what it took away is gone all the same
		if len(o.Drop) == 0 {
			return
		}
		e.op = &Op{Seq: o.Seq, Key: o.Key, Item: o.Item, Drop: o.Drop, Gone: true}
	}
	if o.Key.Kind == GrowSet { // whoever has seen both keeps the same one
		if list := slots[o.Item]; len(list) > 0 {
			if list[0].dot.compare(e.dot) > 0 {
				return
			}
			s.kill(list[0])
		}
	}
	s.touch(e)
	s.keep(e)
}

// end takes away what a replica did in a slot, up to a number.
func (s *Space) end(list []*entry, d Dot) {
	for i := len(list) - 1; i >= 0; i-- { // kill takes it out of the list
		if old := list[i]; old.dot.Replica == d.Replica && old.dot.Seq <= d.Seq {
			s.kill(old)
		}
	}
}

// tick keeps the clock from being behind a time that was seen.
func (s *Space) tick(t Time) {
	if t.compare(s.clock) > 0 {
		s.clock = t
	}
}
