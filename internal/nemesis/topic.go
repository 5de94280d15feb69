package nemesis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Sent is a message of a durable topic as its publisher knows it. Publisher and Seq name it.
type Sent struct {
	Publisher string
	Seq       uint64
	Key       string // "": those of one publisher keep their order
	Offset    uint64 // that the topic gave it; 0: its publisher never learnt whether it was taken
}

// key is the name under which messages keep their order.
func (s Sent) key() string {
	if s.Key == "" {
		return "of " + s.Publisher
	}
	return s.Key
}

func (s Sent) String() string {
	return fmt.Sprintf("message %d of %s, key %q, offset %d", s.Seq, s.Publisher, s.Key, s.Offset)
}

// Topic is a history of a durable topic: what was sent, what took effect where, and what was given up. Its methods may be called
// from many goroutines; effects of one place must be told in the order in which they took place.
type Topic struct {
	mu      sync.Mutex
	sent    []Sent
	effects map[string][]Effect
	dead    map[string][]Sent
}

// Effect says how often a message took effect.
type Effect struct {
	Publisher string
	Seq       uint64
	Count     int // 0: once
}

// Send notes a message: of which offset its publisher was told, or which may have been taken.
func (h *Topic) Send(s Sent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, s)
}

// Effect notes that a message took effect at a place that is to have all of them: the state of a bound agent, say.
func (h *Topic) Effect(place string, e Effect) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.effects == nil {
		h.effects = map[string][]Effect{}
	}
	h.effects[place] = append(h.effects[place], e)
}

// GiveUp notes that a message for a place stands in the list of what was given up, now or at some time: whether and when it takes effect is open.
func (h *Topic) GiveUp(place, publisher string, seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead == nil {
		h.dead = map[string][]Sent{}
	}
	h.dead[place] = append(h.dead[place], Sent{Publisher: publisher, Seq: seq})
}

// Check reports what is wrong with a history at some places, or nil: a message that was taken and took no effect nor was given up,
// one that took effect twice, that nobody sent, or that took effect after a later one of its key; two messages with one offset.
// Of messages of one key the later is that with the greater offset, and of one publisher, who sends one after the other, that with the greater Seq.
func (h *Topic) Check(places ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var bad []string
	sent := map[string]Sent{}
	at := map[uint64]Sent{}
	for _, s := range h.sent {
		id := name(s.Publisher, s.Seq)
		if was, twice := sent[id]; twice && was.Offset > 0 && s.Offset > 0 && was.Offset != s.Offset {
			bad = append(bad, fmt.Sprintf("taken twice: %v, and at %d", was, s.Offset))
		} else if twice && s.Offset == 0 {
			continue
		}
		sent[id] = s
		if other, taken := at[s.Offset]; taken && s.Offset > 0 && name(other.Publisher, other.Seq) != id {
			bad = append(bad, fmt.Sprintf("one offset for two: %v, and %v", other, s))
		}
		at[s.Offset] = s
	}
	for _, place := range places {
		bad = append(bad, h.check(place, sent)...)
	}
	if len(bad) == 0 {
		return nil
	}
	more := ""
	if n := len(bad); n > 10 {
		bad, more = bad[:10], fmt.Sprintf("\nand %d more", n-10)
	}
	return fmt.Errorf("%s%s", strings.Join(bad, "\n"), more)
}

func (h *Topic) check(place string, sent map[string]Sent) (bad []string) {
	seen, given := map[string]bool{}, map[string]bool{}
	for _, s := range h.dead[place] {
		given[name(s.Publisher, s.Seq)] = true
	}
	type keyed struct{ key, publisher string }
	byOffset, bySeq := map[string]Sent{}, map[keyed]Sent{}
	for _, e := range h.effects[place] {
		id := name(e.Publisher, e.Seq)
		s, known := sent[id]
		if !known {
			bad = append(bad, fmt.Sprintf("%s: message %d of %s took effect, which nobody sent", place, e.Seq, e.Publisher))
			continue
		}
		if seen[id] || e.Count > 1 {
			bad = append(bad, fmt.Sprintf("%s: took effect more than once: %v", place, s))
			continue
		}
		seen[id] = true
		if given[id] { // and was sent again at some time
			continue
		}
		key := s.key()
		if last := byOffset[key]; s.Offset > 0 {
			if last.Offset > s.Offset {
				bad = append(bad, fmt.Sprintf("%s: out of order: %v, after %v", place, s, last))
			}
			byOffset[key] = s
		}
		k := keyed{key, s.Publisher}
		if last := bySeq[k]; last.Seq > s.Seq {
			bad = append(bad, fmt.Sprintf("%s: out of order: %v, after %v", place, s, last))
		}
		bySeq[k] = s
	}
	var lost []Sent
	for id, s := range sent {
		if s.Offset > 0 && !seen[id] && !given[id] {
			lost = append(lost, s)
		}
	}
	slices.SortFunc(lost, func(a, b Sent) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, s := range lost {
		bad = append(bad, fmt.Sprintf("%s: lost: %v", place, s))
	}
	return bad
}

func name(publisher string, seq uint64) string { return fmt.Sprintf("%s %d", publisher, seq) }
