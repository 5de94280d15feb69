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
	By         shoal.PeerID   `cbor:"b,omitempty" json:"by,omitempty"` // who signed
}

// What an event can be.
const (
	Lives    = "lives"    // an epoch began
	Kept     = "keepers"  // others keep it
	Upgraded = "upgraded" // it runs other code
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
