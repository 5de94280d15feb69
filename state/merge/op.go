package merge

import (
	"cmp"
	"fmt"
	"unicode/utf8"

	"github.com/shoal-fabric/shoal"
)

// Replica names one life of one disk: whoever loses it is another one afterwards. 16 random bytes in unpadded base64.
type Replica string

// ReplicaBytes is the length of a Replica.
const ReplicaBytes = 22

// Seen is, for each replica, the number up to which all its operations are known.
type Seen map[Replica]uint64

// Dot names an operation.
type Dot struct {
	Replica Replica `cbor:"r"`
	Seq     uint64  `cbor:"s"` // from 1
}

func (d Dot) compare(e Dot) int {
	return cmp.Or(cmp.Compare(d.Replica, e.Replica), cmp.Compare(d.Seq, e.Seq))
}

// Kind is what an object is.
type Kind = shoal.SharedKind

// Kinds.
const (
	Counter  = shoal.SharedCounter  // only grows
	Tally    = shoal.SharedTally    // goes up and down
	Register = shoal.SharedRegister // the last writer's value
	GrowSet  = shoal.SharedGrowSet  // elements come and stay
	Set      = shoal.SharedSet      // elements come and go; who adds wins over who removes at the same time
)

// ParseKind reads a name; 0: there is none of that name.
func ParseKind(name string) Kind {
	for k := Counter; k <= Set; k++ {
		if k.String() == name {
			return k
		}
	}
	return 0
}

// Key names an object, or a field of a map, which is an object by itself. The same name with two kinds is two
// objects: two nodes that do not hear one another may make both.
type Key struct {
	Name  string `cbor:"n"`
	Field string `cbor:"f,omitempty"` // "": no map's
	Kind  Kind   `cbor:"k"`
}

// Time is a hybrid logical clock's (Kulkarni et al.: Logical physical clocks, 2014): never behind what was seen, and
// near the machine's.
type Time struct {
	Wall  int64  `cbor:"w"` // Unix milliseconds
	Count uint32 `cbor:"c,omitempty"`
}

func (t Time) compare(u Time) int {
	return cmp.Or(cmp.Compare(t.Wall, u.Wall), cmp.Compare(t.Count, u.Count))
}

// Op is one operation of a replica. It is never changed.
type Op struct {
	Seq  uint64 `cbor:"s"`
	Key  Key    `cbor:"k"`
	Item string `cbor:"i,omitempty"` // the element of a set
	Up   uint64 `cbor:"u,omitempty"` // the replica's total so far
	Down uint64 `cbor:"d,omitempty"` // likewise, of a tally
	Text []byte `cbor:"t,omitempty"` // of a register
	At   Time   `cbor:"a,omitzero"`  // of a register
	// Drop takes away what other replicas did to the same element, or register, or tally, up to these numbers; with
	// Whole, to all elements. What its own replica did before goes as well, without being named.
	Drop  []Dot `cbor:"x,omitempty"`
	Gone  bool  `cbor:"g,omitempty"` // it adds nothing
	Whole bool  `cbor:"w,omitempty"` // together with Gone
}

// slot is what of an object an operation is about.
func (o *Op) slot() string {
	if o.Key.Kind == Set || o.Key.Kind == GrowSet {
		return o.Item
	}
	return ""
}

// cost is about how many bytes of memory a kept operation takes.
func (o *Op) cost() int {
	return 300 + len(o.Key.Name) + len(o.Key.Field) + len(o.Item) + len(o.Text) + 32*len(o.Drop)
}

// Limits, in bytes and numbers.
const (
	MaxName = 512
	MaxItem = 4 << 10
	MaxText = 64 << 10
	maxDrop = 1 << 16
)

// CheckKey refuses a name that is none.
func CheckKey(k Key) error {
	switch {
	case !utf8.ValidString(k.Name) || !utf8.ValidString(k.Field):
		return shoal.E(shoal.Invalid, "state", "a name that is no text", "write it in UTF-8")
	case k.Name == "" || len(k.Name) > MaxName || len(k.Field) > MaxName:
		return shoal.E(shoal.Invalid, "state", fmt.Sprintf("a name of %d bytes, and a field of %d", len(k.Name), len(k.Field)), fmt.Sprintf("names have 1 to %d bytes", MaxName))
	case k.Kind < Counter || k.Kind > Set:
		return shoal.E(shoal.Invalid, "state "+k.Name, "no kind that is known: "+k.Kind.String(), "update this node")
	}
	return nil
}

// check refuses an operation that nobody makes.
func (o *Op) check() error {
	if err := CheckKey(o.Key); err != nil {
		return err
	}
	grows := o.Key.Kind == Counter || o.Key.Kind == GrowSet
	if len(o.Item) > MaxItem || !utf8.ValidString(o.Item) || len(o.Text) > MaxText || len(o.Drop) > maxDrop || grows && (o.Gone || len(o.Drop) > 0) || o.Key.Kind == Counter && o.Down > 0 || o.Whole && !o.Gone {
		return shoal.E(shoal.Invalid, "state "+o.Key.Name, "an impossible operation", "check that all nodes run the same version of shoal")
	}
	for _, d := range o.Drop {
		if len(d.Replica) != ReplicaBytes {
			return shoal.E(shoal.Invalid, "state "+o.Key.Name, "an operation of nobody's", "")
		}
	}
	return nil
}

// Delta is what a replica did, from behind one number up to another. Operations that have no effect any more are left
// out, so it must not be cut: what stands for one that was left out may come last.
type Delta struct {
	Of    Replica `cbor:"r"`
	After uint64  `cbor:"a,omitempty"`
	To    uint64  `cbor:"t"`
	Cut   uint64  `cbor:"c,omitempty"` // up to which number those may be left out that took away what somebody may still have
	Ops   []*Op   `cbor:"o,omitempty"` // ascending
}
