package world

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// book is what was published on a topic, and who heard what of it.
type book struct {
	durable bool

	mu     sync.Mutex
	msgs   []*message
	list   map[int]*listener // by machine
	broken []string
}

type message struct {
	at      time.Time
	to      map[int]bool // listeners to whom it is due: whether they heard it
	taken   bool         // its publisher was told that it is published
	refused bool
}

type listener struct {
	hearing bool
	gaps    int
	offset  uint64 // the last
}

func newBook(durable bool) *book { return &book{durable: durable, list: map[int]*listener{}} }

func (b *book) listener(machine int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list[machine] = &listener{}
}

func (b *book) hears(machine int, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list[machine].hearing = yes
}

func (b *book) gap(machine int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list[machine].gaps++
}

// body makes the next message, of about n bytes, that is due to whoever listens now, and if it is durable to whoever did and will go
// on where it stopped.
func (b *book) body(n uint64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &message{at: time.Now(), to: map[int]bool{}}
	for i, l := range b.list {
		if l.hearing || b.durable && l.offset > 0 {
			m.to[i] = false
		}
	}
	b.msgs = append(b.msgs, m)
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(b.msgs))), noise(max(n, 8)-8, uint64(len(b.msgs)))...)
}

func (b *book) of(body []byte) *message {
	if len(body) < 8 {
		return nil
	}
	n := binary.LittleEndian.Uint64(body)
	if n == 0 || n > uint64(len(b.msgs)) {
		return nil
	}
	return b.msgs[n-1]
}

// sent notes what came of publishing a message.
func (b *book) sent(body []byte, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(body)
	m.taken = err == nil
	switch shoal.KindOf(err) {
	case shoal.Refused, shoal.NotFound, shoal.Invalid:
		m.refused = err != nil
	}
}

// heard notes that a machine heard a message, and returns how late; false if it was not due, or was heard before.
func (b *book) heard(machine int, body []byte, offset uint64) (late time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.of(body)
	if m == nil {
		b.broken = append(b.broken, fmt.Sprintf("node %d heard a message that nobody sent", machine))
		return 0, false
	}
	l := b.list[machine]
	if b.durable {
		if offset <= l.offset {
			b.broken = append(b.broken, fmt.Sprintf("node %d heard offset %d after %d", machine, offset, l.offset))
		}
		l.offset = max(l.offset, offset)
	}
	was, due := m.to[machine]
	if due && was && !b.durable {
		b.broken = append(b.broken, fmt.Sprintf("node %d heard a message twice", machine))
	}
	if !due || was {
		return 0, false
	}
	m.to[machine] = true
	return time.Since(m.at), true
}

// count returns how many deliveries were due, of messages that are known to be published or were heard, and how many happened. up
// says which machines have been up all the time since a message was published.
func (b *book) count(upSince func(machine int) time.Time) (due, done int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	missed := map[int][]int{} // by machine: a line for each message would say only where the gap begins, as lines are limited
	for i, m := range b.msgs {
		if !m.taken {
			continue
		}
		for machine, heard := range m.to {
			since := upSince(machine)
			if !b.durable && (since.IsZero() || since.After(m.at)) && !heard {
				continue // it lost its power with the message on its way
			}
			due++
			if heard {
				done++
			} else if b.durable && !since.IsZero() {
				missed[machine] = append(missed[machine], i+1)
			}
		}
	}
	for _, machine := range slices.Sorted(maps.Keys(missed)) {
		list := missed[machine]
		b.broken = append(b.broken, fmt.Sprintf("%d messages were taken and never reached node %d, which is up: the first is %d, the last %d, of %d",
			len(list), machine, list[0], list[len(list)-1], len(b.msgs)))
	}
	return due, done
}

// calmTime is how long all must have been mended before everything has to be in order again.
const calmTime = 3 * time.Minute

// afterwards looks, at the end of a time in which nothing went wrong, whether agents are as they should be: each answers, and has as
// many keepers as were wanted, or as there are nodes for.
func (w *world) afterwards(ctx context.Context) {
	if w.s.Settle < calmTime {
		return
	}
	var all sync.WaitGroup
	for _, a := range w.agents {
		all.Go(func() {
			n := w.anyUp(nil, w.dice("any"))
			if n == nil {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			want := w.s.Agents[a.family].Replicas
			if up := len(w.machines); want > up {
				want = up
			}
			_, err := n.CallAgent(ctx, a.key, shoal.CallRequest{Method: "get", Request: "afterwards"})
			show, bad := n.ShowAgent(ctx, a.key)
			switch {
			case ctx.Err() == context.Canceled:
			case err != nil:
				w.breach("agent %s does not answer at the end: %v", a.name, err)
			case bad != nil:
				w.breach("agent %s is not shown at the end: %v", a.name, bad)
			case len(show.Keepers) < want-1+want%2:
				w.breach("agent %s has %d keepers at the end, not %d", a.name, len(show.Keepers), want)
			}
		})
	}
	all.Wait()
}

// breach notes what must not be.
func (w *world) breach(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) < 20 {
		w.broken = append(w.broken, fmt.Sprintf(format, args...))
	}
}

// checks returns what judges the histories.
func (w *world) checks() func() []string {
	bad := w.broken
	for _, c := range w.topics {
		c.book.mu.Lock()
		for _, s := range c.book.broken {
			bad = append(bad, "topic "+c.name+": "+s)
		}
		c.book.mu.Unlock()
	}
	return func() []string {
		if err := w.history.Check(checkTime); err != nil {
			bad = append(bad, "agents: "+err.Error())
		}
		return bad
	}
}

// checkTime bounds the check of the history of one agent.
const checkTime = time.Minute
