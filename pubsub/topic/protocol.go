package topic

// Cast is the consumer of a fast topic's messages that agents published.
const Cast = "cast"

// What the topic's agent is asked. The payload of a method is its request, the reply its answer, both in wire's CBOR, unless it is said otherwise.
//
//	define   Definition   View; Exists: it has another one
//	view     nothing      View; read only
//	bind     Binding      Binding, with its ID; Exists: 256 are bound
//	unbind   text: an ID, or what it is bound to (AGENT.METHOD)   the number that went
//	join     Presence     View
//	publish  the body     text: the message's offset; of durable topics: for agents, whose message it is (caller)
//	append   Append       Appended
//	read     Read         Page; read only
//	fetch    Fetch        Page
//	consumers nothing     []Consumer; read only
//	dead     Read (Consumer, From, Limit)   Page; read only: what was given up, with Reason
//	resend   Resend       the number that is delivered again
//	forget   text: a consumer, not of a binding   nothing
//
// A binding of the modes each and one has a consumer in a durable topic, which holds: what it has not settled is not dropped
// because of its age. Whoever fetches as another consumer makes it by that, and it misses what is dropped. Of the mode ask
// there is none unless somebody fetches: who asks waits for the answer, and nothing is kept for them.
//
// Who keeps the order of a key processes of those that it has, or has given back, and that are not settled the one with the least
// offset, gives the others Back, and goes on once Page.Dead says that one was given up; after it Over gives it all that is not
// settled before what is new.
//
// A fast topic to which agents publish keeps their messages for the consumer Cast, for a minute and up to a MiB, until the
// node that leads has taken them.
//
// While consumers that hold are behind, a durable timer calls 'tend', which does nothing but set it anew: so a topic whose node
// died wakes elsewhere, and its messages go on from there. Another, 'trim', drops what is old where nobody appends.
type (
	// Append puts messages at the end of a durable topic's log, all or none.
	Append struct {
		Messages []Message `cbor:"m"` // Offset and At are given by the agent
	}
	// Appended are the offsets of an Append: First and as many as there were messages.
	Appended struct {
		First uint64 `cbor:"f"`
	}
	// Read asks for messages from an offset on, or from a time on.
	Read struct {
		From     uint64 `cbor:"f,omitempty"`
		Since    int64  `cbor:"s,omitempty"` // Unix milliseconds; with From 0
		Limit    int    `cbor:"l,omitempty"` // 0: as many as fit
		Consumer string `cbor:"c,omitempty"` // dead: whose
	}
	// Page is a run of messages, of a megabyte at most, one at least if there is one.
	Page struct {
		Messages []Delivery `cbor:"m,omitempty"`
		First    uint64     `cbor:"f"`           // the oldest that is kept
		Next     uint64     `cbor:"n"`           // that the next message of the topic gets
		Due      int64      `cbor:"d,omitempty"` // fetch: Unix milliseconds when something may be had again; 0: when a message comes
		Lag      uint64     `cbor:"g,omitempty"` // fetch: messages that the consumer has not acknowledged
		Dead     []uint64   `cbor:"e,omitempty"` // fetch: offsets of messages that were given up just now
	}
	// Delivery is a message as a consumer gets it.
	Delivery struct {
		Message `cbor:"m"`
		Try     int    `cbor:"tr,omitempty"` // from 1
		Begun   int64  `cbor:"be,omitempty"` // Unix milliseconds of its first delivery: with the offset it names the request
		Reason  string `cbor:"re,omitempty"` // dead: why it was given up
	}
	// Fetch acknowledges what was delivered and leases more to a worker, until AckWait is over.
	Fetch struct {
		Consumer string    `cbor:"c"`
		Worker   string    `cbor:"w"`
		Start    uint64    `cbor:"s,omitempty"`  // a consumer that is new begins here; 0: with the next message
		Over     bool      `cbor:"o,omitempty"`  // there is one worker only, from now on this: what was leased is free, also what this one has, and what waits does so no more; all that is not settled comes before what is new, in order
		Lost     bool      `cbor:"lo,omitempty"` // what this worker has is free, as if it had not been delivered: the answer to its last Fetch did not come
		Sole     bool      `cbor:"so,omitempty"` // with Over: all others are Refused from now on, and no lease of this worker's ends by itself
		Ack      []uint64  `cbor:"a,omitempty"`  // offsets
		Fail     []Failure `cbor:"f,omitempty"`
		Limit    int       `cbor:"l,omitempty"` // 0: only acknowledge
	}
	// Failure gives a message back that could not be processed.
	Failure struct {
		Offset uint64 `cbor:"o"`
		Why    string `cbor:"w"`
		After  int64  `cbor:"a,omitempty"` // milliseconds until it is delivered again
		Final  bool   `cbor:"f,omitempty"` // it is given up now, however often it was tried
		More   int    `cbor:"m,omitempty"` // times that it was tried besides its deliveries
		Back   bool   `cbor:"b,omitempty"` // it was not tried, as another of its key waits: the delivery does not count
	}
	// Consumer is a position in the log.
	Consumer struct {
		Name   string `cbor:"n"`
		Next   uint64 `cbor:"x"` // all before it are acknowledged or given up
		Lag    uint64 `cbor:"l"` // not acknowledged or given up
		Leased int    `cbor:"e"` // delivered, and not acknowledged yet
		Dead   int    `cbor:"d"`
		Used   int64  `cbor:"u"`           // Unix milliseconds
		Holds  bool   `cbor:"h,omitempty"` // it is a binding's
		Missed uint64 `cbor:"m,omitempty"` // messages that were dropped before it had settled them
		Gone   uint64 `cbor:"g,omitempty"` // given up, and not kept in the list any more
	}
	// Resend has what was given up delivered again; no offsets: all.
	Resend struct {
		Consumer string   `cbor:"c"`
		Offsets  []uint64 `cbor:"o,omitempty"`
		Drop     bool     `cbor:"d,omitempty"` // forget it instead
	}
)
