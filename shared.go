package shoal

import (
	"context"
	"fmt"
)

// SharedKind is what an object of the fabric's mergeable state is. The numbers are those of docs/abi.md.
type SharedKind uint8

// Kinds of objects. 0 in a change: as the object is, or what the verb makes.
const (
	SharedCounter  SharedKind = 1 // only grows
	SharedTally    SharedKind = 2 // goes up and down
	SharedRegister SharedKind = 3 // the last writer's value
	SharedGrowSet  SharedKind = 4 // elements come and stay
	SharedSet      SharedKind = 5 // elements come and go
)

var sharedKinds = [...]string{"", "counter", "tally", "register", "growset", "set"}

// String returns the kind's name.
func (k SharedKind) String() string {
	if int(k) < len(sharedKinds) {
		return sharedKinds[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// SharedVerb is what a change of mergeable state does.
type SharedVerb string

// Verbs, and what of a change they need.
const (
	SharedAdd    SharedVerb = "add"    // By, to a counter or a tally
	SharedPut    SharedVerb = "set"    // Text, into a register
	SharedInsert SharedVerb = "insert" // Item, into a set
	SharedRemove SharedVerb = "remove" // Item, out of a set
	SharedClear  SharedVerb = "clear"  // the object
)

// SharedChange is one change of one object, or of a field of a map.
type SharedChange struct {
	Name  string     `json:"name"`
	Field string     `json:"field,omitempty"` // "": no map's
	Kind  SharedKind `json:"-"`
	Verb  SharedVerb `json:"verb"`
	By    int64      `json:"by,omitempty"`
	Text  []byte     `json:"text,omitempty"`
	Item  string     `json:"item,omitempty"`
}

// SharedObject is an object as a turn sees it.
type SharedObject struct {
	Field  string
	Kind   SharedKind
	Number int64  // of a counter or tally; of a set, how many elements it has
	Text   []byte // of a register
}

// Shared is the fabric's mergeable state (docs/state.md) as one turn sees it: what this node knows at the moment of each read, and over it
// what the turn staged. It is for one goroutine.
type Shared interface {
	// Change stages a change. Invalid: a malformed one. Exists: the object is of another kind. Refused: the turn reads only.
	// Full: the turn stages more than it may. What a turn adds to one counter is one change in the end.
	Change(c SharedChange) error
	// Get returns an object, of one of several that nodes made under one name the first by kind (0), and whether there is one.
	Get(name, field string, kind SharedKind) (SharedObject, bool)
	// Has reports whether a set, growing or not, has an element.
	Has(name, field, item string) bool
	// Items returns up to limit elements of a set that are greater than after, in order; first: from the first on.
	Items(name, field, after string, first bool, limit int) []string
	// Fields returns up to limit fields of a map that are greater than after ("": from the first on), in order.
	Fields(name, after string, limit int) []SharedObject
}

// Draft is a turn's Shared as those hold it who run the turn.
type Draft interface {
	Shared
	// Commit has all that was staged happen, and returns when it is on this node's disk; after an error nothing has. It may
	// be called once.
	Commit(ctx context.Context) error
}

// Drafts begins them. Its method may be called from many goroutines.
type Drafts interface {
	// Draft begins a turn's; with read, whatever it stages is refused.
	Draft(read bool) Draft
}
