package match

import (
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Table is what is known of the members, in a form against which many requirements are checked. Put and Remove
// make the next Rows; the Rows that were given out stay as they are. It is not safe for concurrent use; Rows are.
type Table struct {
	rows  Rows
	at    map[shoal.PeerID]int
	count uint64 // of versions given out
	given bool   // rows were given out: the next change copies the list
}

// Rows is the table at one moment. Nothing in it may be changed.
type Rows struct {
	List    []*Row
	Version uint64 // another one: the rows are others
}

// Row is a member. Versions are never used twice in a table.
type Row struct {
	shoal.Member
	machine uint64 // version of what does not move: the attributes
	record  uint64 // version of all, state and load too
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{at: map[shoal.PeerID]int{}} }

// Rows is the table as it is now.
func (t *Table) Rows() Rows {
	t.given = true
	return t.rows
}

// Put adds a member or replaces what was known of it; one that departed is removed.
func (t *Table) Put(m shoal.Member) {
	if m.State == shoal.Left || m.State == shoal.Forgotten {
		t.Remove(m.ID)
		return
	}
	t.change()
	r := &Row{Member: m, machine: t.count, record: t.count}
	i, ok := t.at[m.ID]
	if !ok {
		t.at[m.ID] = len(t.rows.List)
		t.rows.List = append(t.rows.List, r)
		return
	}
	if old := t.rows.List[i]; old.Attributes.Equal(m.Attributes) {
		r.machine = old.machine
	}
	t.rows.List[i] = r
}

// Remove takes a member out.
func (t *Table) Remove(id shoal.PeerID) {
	i, ok := t.at[id]
	if !ok {
		return
	}
	t.change()
	last := len(t.rows.List) - 1
	moved := t.rows.List[last]
	t.rows.List[i], t.rows.List[last] = moved, nil
	t.rows.List = t.rows.List[:last]
	t.at[moved.ID] = i
	delete(t.at, id)
}

// Keep removes all members but these.
func (t *Table) Keep(ids map[shoal.PeerID]bool) {
	for _, r := range slices.Clone(t.rows.List) {
		if !ids[r.ID] {
			t.Remove(r.ID)
		}
	}
}

func (t *Table) change() {
	t.count++
	t.rows.Version = t.count
	if t.given {
		t.rows.List, t.given = slices.Clone(t.rows.List), false
	}
}
