package turn

import (
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Event is a line of an agent's history: where it lived, who kept it, which code it ran.
type Event struct {
	What       string         `cbor:"w" json:"what"`
	At         int64          `cbor:"a" json:"at_ms"` // Unix milliseconds
	Epoch      uint64         `cbor:"e" json:"epoch"`
	Generation uint64         `cbor:"g" json:"generation"`
	Leader     shoal.PeerID   `cbor:"l" json:"leader"`
	Keepers    []shoal.PeerID `cbor:"k,omitempty" json:"keepers,omitempty"`
	Conf       uint64         `cbor:"i,omitempty" json:"-"` // index of the configuration
	Code       string         `cbor:"c,omitempty" json:"code,omitempty"`
	By         shoal.PeerID   `cbor:"b,omitempty" json:"by,omitempty"` // who signed, or asked for it
	To         shoal.PeerID   `cbor:"t,omitempty" json:"to,omitempty"` // where it is to move
	Pull       *Pull          `cbor:"p,omitempty" json:"pull,omitempty"`
}

// Pull is why an agent moves by itself: what the distance to what it reads has taken, in seconds.
type Pull struct {
	Here  float64 `cbor:"h" json:"here_s"`  // since it came to where it is
	There float64 `cbor:"t" json:"there_s"` // what the same would have taken where it moves
	Price float64 `cbor:"p" json:"price_s"` // of the move
	Why   string  `cbor:"w" json:"why"`
}

// What an event can be.
const (
	Lives    = "lives"    // an epoch began
	Kept     = "keepers"  // others keep it
	Upgraded = "upgraded" // it runs other code
	Moved    = "moved"    // somebody has it move
	Drawn    = "drawn"    // what it reads has it move
)

// Noted is what the history knows already.
type Noted struct {
	Epoch      uint64       `cbor:"e,omitempty"`
	Generation uint64       `cbor:"g,omitempty"`
	Leader     shoal.PeerID `cbor:"l,omitempty"`
	Conf       uint64       `cbor:"i,omitempty"`
}

// KeptEvents is how long a history gets; older events are forgotten.
const KeptEvents = 256

// note writes an event into the history.
func (a *applying) note(e Event) {
	n := a.meta.Events
	a.put(named(ofHistory, "", n), e)
	if n >= KeptEvents {
		a.drop(named(ofHistory, "", n-KeptEvents))
	}
	a.meta.Events++
	a.meta.Noted = Noted{Epoch: e.Epoch, Generation: e.Generation, Leader: e.Leader, Conf: max(a.meta.Noted.Conf, e.Conf)}
}

// History lists the events that are kept, the oldest first.
func History(v View) (list []Event, err error) {
	for _, c := range v.Scan([]byte{ofHistory}, []byte{ofHistory + 1}) {
		if c.Err != nil {
			return nil, c.Err
		}
		var e Event
		if err := wire.Unmarshal("event", c.Value, &e); err != nil {
			return nil, &shoal.Error{Kind: shoal.Corrupt, What: "agent's history", Why: err.Error(), Err: err}
		}
		list = append(list, e)
	}
	return list, nil
}

// Changes reports whether changes of a state give the agent other code.
func Changes(list []Write) bool {
	return slices.ContainsFunc(list, func(w Write) bool { return w.Key[0] == ofCode })
}
