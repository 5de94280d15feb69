package turn

import (
	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Limits of one turn. What exceeds them is refused with Invalid, and the turn with it.
const (
	MaxPayload = 1 << 20 // bytes of a request, a reply or a message
	MaxKey     = 1 << 10 // bytes of a key of the agent's
	MaxValue   = 1 << 20 // bytes of a value
	MaxEntry   = 3 << 20 // bytes of all that a turn writes, sends and replies
	MaxTimers  = 1024    // set at once, by one agent
	MaxSends   = 1024    // messages of one turn
	MaxName    = 256     // bytes of the name of a timer, method or session
	MaxState   = 1 << 30 // bytes of keys and values of an agent, by default
	maxEncoded = MaxEntry + 256<<10
)

// Kind says what an entry is for.
type Kind uint8

// The kinds. The list is append-only: entries outlive the program that wrote them.
const (
	Turn   Kind = 1 // a message was processed
	Expire Kind = 2 // old sessions are forgotten
	Settle Kind = 3 // messages of the outbox arrived, or never will
	Code   Kind = 4 // other code from here on
	Note   Kind = 5 // nothing but its Event
)

// Entry is what the log holds of a turn: all of its effects.
type Entry struct {
	Kind    Kind    `cbor:"k"`
	At      int64   `cbor:"a"` // Unix milliseconds by the leader's clock; never less than the entry before
	Request Request `cbor:"q,omitzero"`
	Digest  []byte  `cbor:"d,omitempty"` // of the request
	Method  string  `cbor:"f,omitempty"` // for those who look
	Reply   []byte  `cbor:"r,omitempty"`
	Writes  []Write `cbor:"w,omitempty"`
	Sends   []Send  `cbor:"s,omitempty"`
	Timers  []Timer `cbor:"t,omitempty"`
	From    Source  `cbor:"m,omitzero"` // the message of another agent that the turn processed
	Fired   Timer   `cbor:"x,omitzero"` // the timer whose turn it was; gone unless Timers set it anew

	Settled  []Settled `cbor:"o,omitempty"` // Settle
	Sessions []string  `cbor:"e,omitempty"` // Expire
	Code     []byte    `cbor:"c,omitempty"` // Code: CID
	Manifest uint64    `cbor:"v,omitempty"` // Code: number of the owner's manifest that says so
	Signed   []byte    `cbor:"y,omitempty"` // Code: that manifest
	Event    *Event    `cbor:"h,omitempty"` // for the agent's history
}

// Write is one change of a state.
type Write = shoal.Write

// Send is a message to another agent.
type Send struct {
	To      []byte `cbor:"t"` // the receiver's key
	Method  string `cbor:"m"`
	Payload []byte `cbor:"p,omitempty"`
}

// Source names a message by who sent it: numbers grow by one for each receiver, and start anew when the
// sender's generation does.
type Source struct {
	Agent      []byte `cbor:"a"` // the sender's key
	Generation uint64 `cbor:"g"`
	Number     uint64 `cbor:"n"`
}

// Timer has a method called at a time.
type Timer struct {
	Name    string `cbor:"n"`
	Due     int64  `cbor:"d,omitempty"` // Unix milliseconds; 0: clear it
	Method  string `cbor:"m,omitempty"`
	Payload []byte `cbor:"p,omitempty"`
}

// Settled says that the messages to a receiver up to a number arrived, or that the one with it is given up.
type Settled struct {
	To     []byte `cbor:"t"`
	Number uint64 `cbor:"n"`
	Why    string `cbor:"w,omitempty"` // not "": given up, kept with the dead
}

// Encode returns the entry's bytes, for the log.
func (e *Entry) Encode() []byte { return wire.Marshal(e) }

// Decode is the inverse. An entry that cannot be read is Corrupt: the log holds what this package wrote.
func Decode(b []byte) (*Entry, error) {
	if len(b) > maxEncoded {
		return nil, shoal.E(shoal.Corrupt, "log entry", "too long", "")
	}
	var e Entry
	if err := wire.Unmarshal("log entry", b, &e); err != nil {
		return nil, &shoal.Error{Kind: shoal.Corrupt, What: "log entry", Why: err.Error(), Err: err}
	}
	if e.Kind < Turn || e.Kind > Note {
		return nil, shoal.E(shoal.Corrupt, "log entry", "of a kind that this version does not know",
			"run the version that wrote it, or a later one")
	}
	return &e, nil
}
