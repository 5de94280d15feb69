package topic

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/log"
)

// Code is the reserved code ID of the agents that are topics; Prefix begins their names in the directory.
const (
	Code   = "native:topic"
	Prefix = "topic:"
)

// Limits.
const (
	MaxBody     = 64 << 10 // bytes of a body; a longer one is put as data and sent as its CID
	MaxKey      = 256      // bytes of a message's key
	MaxTrace    = 128      // bytes
	MaxBindings = 256      // of one topic
	MaxExpr     = 4 << 10  // bytes of a filter or key expression
	MaxName     = 190      // bytes of a topic's name
)

// Audiences: which way fast messages go. Auto chooses by how many nodes subscribe.
const (
	Auto  = ""
	Small = "small" // streams from the publisher's node to each that subscribes
	Large = "large" // gossip
)

// Definition is what a topic is. It is given once, when the topic is created.
type Definition struct {
	Durable     bool          `cbor:"d,omitempty" json:"durable"`
	Audience    string        `cbor:"a,omitempty" json:"audience,omitempty"`     // of a fast topic: Auto, Small or Large
	Retain      time.Duration `cbor:"t,omitempty" json:"-"`                      // durable: messages older than that go once no binding waits for them; 0: a day
	RetainBytes uint64        `cbor:"b,omitempty" json:"retain_bytes,omitempty"` // durable: with more the oldest go, or what is sent is refused if a binding waits for them; 0: 512 MiB, which is the most
	Tries       int           `cbor:"n,omitempty" json:"tries,omitempty"`        // durable: deliveries of a message before it is given up; 0: 5
	AckWait     time.Duration `cbor:"w,omitempty" json:"-"`                      // durable: after which a message that was not acknowledged is delivered again; 0: 30 s
}

// Defaults of a Definition.
const (
	DefaultRetain  = 24 * time.Hour
	DefaultTries   = 5
	DefaultAckWait = 30 * time.Second
)

// Check refuses what cannot be.
func (d *Definition) Check() error {
	bad := ""
	switch {
	case d.Audience != Auto && d.Audience != Small && d.Audience != Large:
		bad = fmt.Sprintf("there is no audience '%.20s'", d.Audience)
	case d.Durable && d.Audience != Auto:
		bad = "what is durable goes through the topic's log, to any audience"
	case !d.Durable && (d.Retain != 0 || d.RetainBytes != 0 || d.Tries != 0 || d.AckWait != 0):
		bad = "only what is durable is retained and delivered again"
	case d.Retain < 0 || d.Tries < 0 || d.AckWait < 0 || d.Tries > 1000:
		bad = "a limit is below zero, or more than 1000 tries"
	case d.Retain != 0 && d.Retain < time.Second || d.AckWait != 0 && d.AckWait < 100*time.Millisecond || d.AckWait > 24*time.Hour:
		bad = "messages are retained for a second at least, and may be acknowledged for 100 ms at least and a day at most"
	case d.RetainBytes > log.MaxBytes || d.RetainBytes != 0 && d.RetainBytes < 1<<20:
		bad = fmt.Sprintf("a topic retains from 1 to %d MiB", log.MaxBytes>>20)
	}
	if bad != "" {
		return shoal.E(shoal.Invalid, "topic", bad, "see 'shoal topic create --help'")
	}
	return nil
}

// CheckName refuses what cannot be the name of a topic: parts of letters, digits and - _ . : with slashes between them.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxName
	for part := range strings.SplitSeq(name, "/") {
		ok = ok && part != ""
		for i, r := range part {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
			ok = ok && (letter || i > 0 && strings.ContainsRune("-_.:", r))
		}
	}
	if !ok {
		return shoal.E(shoal.Invalid, fmt.Sprintf("topic's name %.40q", name), "not a name",
			fmt.Sprintf("use up to %d letters, digits and - _ . : in parts with / between them, as in orders/created", MaxName))
	}
	return nil
}

// Modes of a binding.
const (
	Each = "each" // every binding gets every message
	One  = "one"  // one of the bindings of a group does
	Ask  = "ask"  // one of them answers whoever asks
)

// Kinds of what is bound.
const (
	Agent    = "agent"
	Service  = "service"
	Function = "function"
)

// Binding ties a topic to something that processes its messages.
type Binding struct {
	ID     string `cbor:"i" json:"id"` // the agent makes it of the rest: the same binding twice is one
	Kind   string `cbor:"k" json:"kind"`
	To     string `cbor:"t" json:"to"`                         // an agent (key or name), a service's name, a module's CID or exec:NAME
	Method string `cbor:"m,omitempty" json:"method,omitempty"` // of an agent; the export of a module
	Mode   string `cbor:"o" json:"mode"`
	Read   bool   `cbor:"r,omitempty" json:"read,omitempty"`   // Ask: the agent's method only reads, so no turn is written
	Group  string `cbor:"g,omitempty" json:"group,omitempty"`  // One, Ask: of which one member gets a message
	Filter string `cbor:"f,omitempty" json:"filter,omitempty"` // CEL; "": all messages
	Key    string `cbor:"y,omitempty" json:"key,omitempty"`    // CEL: messages of one key go to one member, in their order; "": Message.Key
	At     int64  `cbor:"a,omitempty" json:"bound_ms"`         // Unix milliseconds
	From   uint64 `cbor:"n,omitempty" json:"from,omitempty"`   // durable: the offset from which on it gets messages
}

// Check refuses what cannot be, the expressions apart.
func (b *Binding) Check() error {
	bad := ""
	switch {
	case !slices.Contains([]string{Agent, Service, Function}, b.Kind):
		bad = fmt.Sprintf("there is no kind '%.20s' of what is bound", b.Kind)
	case b.To == "" || len(b.To) > 300 || len(b.Method) > 256:
		bad = "nothing is named to which messages go, or it is too long"
	case b.Kind == Agent && b.Method == "":
		bad = "no method of the agent is named"
	case !slices.Contains([]string{Each, One, Ask}, b.Mode):
		bad = fmt.Sprintf("there is no mode '%.20s'", b.Mode)
	case b.Read && (b.Mode != Ask || b.Kind != Agent):
		bad = "only an agent that is asked can be asked for what it reads"
	case b.Group != "" && b.Mode == Each:
		bad = "a group is for the modes one and ask"
	case len(b.Group) > MaxKey || len(b.Filter) > MaxExpr || len(b.Key) > MaxExpr:
		bad = "the group, the filter or the key is too long"
	}
	if bad != "" {
		return shoal.E(shoal.Invalid, "binding", bad, "see 'shoal topic bind --help'")
	}
	return nil
}

// Consumer names the position of a binding in a durable topic's log: bindings of one group share theirs.
func (b *Binding) Consumer() string {
	if b.Mode == Each {
		return "binding:" + b.ID
	}
	return "group:" + b.Mode + ":" + b.Group
}
