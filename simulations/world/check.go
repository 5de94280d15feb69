package world

import (
	"encoding/binary"
	"fmt"
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
	to      map[int]bool // listeners that were there when it was published: whether they heard it
	taken   bool         // its publisher was told that it is published
	refused bool
}

type listener struct {
	hearing bool
	gaps    int
	offset  uint64 // the last
}

func newBook(durable bool) *book { return &book{durable: durable, list: map[int]*listener{}} }

func (b *book) listener(machine int) { b.list[machine] = &listener{} }

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

// body makes the next message, of about n bytes, that is due to whoever listens now.
func (b *book) body(n uint64) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := &message{at: time.Now(), to: map[int]bool{}}
	for i, l := range b.list {
		if l.hearing {
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
			} else if b.durable && !since.IsZero() && len(b.broken) < 20 {
				b.broken = append(b.broken, fmt.Sprintf("message %d was taken and never reached node %d, which is up", i+1, machine))
			}
		}
	}
	return due, done
}

// checks returns what judges the histories.
func (w *world) checks() func() []string {
	var bad []string
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
