package agents

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/shoal-fabric/shoal"
)

// chain is the way a call came: which agents wait for it, and since when.
//
// An agent that waits for another takes no message meanwhile, so two chains that cross would wait for each other
// until their deadlines. Waits follow wait-die (Rosenkrantz, Stearns and Lewis, 1978): a call that meets an agent
// whose turn waits for a call of an older chain does not wait but fails, with all turns of its chain, of which
// nothing happened; where the chain began it is begun again, with its age, so that it is the oldest some day.
type chain struct {
	Trace  string   `cbor:"t,omitempty"`
	Agents [][]byte `cbor:"a,omitempty"`
	Born   int64    `cbor:"b,omitempty"` // Unix nanoseconds
}

const maxDepth = 16 // agents that wait for one another

// begun returns a chain, begun now if it was not before.
func (c chain) begun(now time.Time) chain {
	if c.Born == 0 {
		c.Born = now.UnixNano()
	}
	if c.Trace == "" {
		c.Trace = strconv.FormatUint(rand.Uint64(), 36)
	}
	return c
}

// older reports whether c is to be waited for by d.
func (c chain) older(d chain) bool {
	return c.Born < d.Born || c.Born == d.Born && c.Trace < d.Trace
}

// admits refuses a call that would come back to an agent that waits for it, and chains that are too long.
func (c chain) admits(what string, to shoal.Key) error {
	way := ""
	for _, k := range c.Agents {
		way += KeyText(shoal.Key(k)) + " > "
	}
	for _, k := range c.Agents {
		if shoal.Key(k) == to {
			return shoal.E(shoal.Refused, what, "it waits for this very call: "+way+KeyText(to), "send a message instead of calling")
		}
	}
	if len(c.Agents) > maxDepth {
		return shoal.E(shoal.Refused, what, fmt.Sprintf("%d agents wait for one another: %s", len(c.Agents), way), "send a message instead of calling")
	}
	return nil
}

// die is what a call is told that must not wait.
func die(agent string) error {
	return &shoal.Error{
		Kind: shoal.Refused, What: "agent " + agent, Why: "it waits for a call that began before this one, which might wait for it",
		Try: "begin anew", RetryAfter: 5 * time.Millisecond,
	}
}

// dies reports whether an error is that of a chain that must begin anew: refused, and to be tried again.
func dies(err error) bool {
	var e *shoal.Error
	return errors.As(err, &e) && e.Kind == shoal.Refused && e.RetryAfter > 0
}

// yields has those calls in the mailbox die that are younger than the turn that waits now, and later ones that come
// meanwhile. The caller holds mu.
func (x *actor) yields(to *chain) {
	x.calling = to
	if to == nil {
		return
	}
	keep := x.mail[:0]
	for _, m := range x.mail {
		if x.mustDie(m) {
			m.done(nil, die(x.genesis.Name))
		} else {
			keep = append(keep, m)
		}
	}
	x.mail = keep
}

// mustDie reports whether a message must not wait for the turn under way. The caller holds mu.
func (x *actor) mustDie(m *mail) bool {
	return x.calling != nil && len(m.chain.Agents) > 0 && x.calling.older(m.chain)
}
