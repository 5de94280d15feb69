package topic

import (
	"fmt"

	"github.com/shoal-fabric/shoal"
)

// Message is one message of a topic.
type Message struct {
	Publisher string `cbor:"p,omitempty"` // a peer's ID or an agent's key, in text
	Epoch     uint64 `cbor:"e,omitempty"` // fast: of the publisher: grows with each life of its node
	Seq       uint64 `cbor:"s,omitempty"` // fast: from 1, without gaps for each publisher and epoch; durable: the publisher's own number, or 0
	Offset    uint64 `cbor:"o,omitempty"` // durable: from 1, without gaps for the topic
	At        int64  `cbor:"a,omitempty"` // Unix milliseconds, by the publisher's clock; durable: by that of the topic's agent
	Trace     string `cbor:"t,omitempty"`
	Key       string `cbor:"k,omitempty"` // messages of one key keep their order; "": those of one publisher do
	Body      []byte `cbor:"b,omitempty"` // up to MaxBody bytes
	Data      string `cbor:"d,omitempty"` // not "": the body is the dataset with this CID, and Body is empty
}

// ID names a message of a topic, the same wherever it is seen.
func (m *Message) ID() string {
	if m.Offset > 0 {
		return fmt.Sprintf("%d", m.Offset)
	}
	return fmt.Sprintf("%s.%d.%d", m.Publisher, m.Epoch, m.Seq)
}

// Check refuses a message that is too large.
func (m *Message) Check() error {
	if len(m.Body) > MaxBody || len(m.Key) > MaxKey || len(m.Trace) > MaxTrace || len(m.Data) > 128 || len(m.Publisher) > 128 ||
		m.Data != "" && len(m.Body) > 0 {
		return shoal.E(shoal.Invalid, "message", fmt.Sprintf("a body of %d, a key of %d or a trace of %d bytes is too long", len(m.Body), len(m.Key), len(m.Trace)),
			fmt.Sprintf("the limits are %d, %d and %d", MaxBody, MaxKey, MaxTrace))
	}
	return nil
}

// Size is about how many bytes a message takes.
func (m *Message) Size() int {
	return 64 + len(m.Publisher) + len(m.Trace) + len(m.Key) + len(m.Body) + len(m.Data)
}
