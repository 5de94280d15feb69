package cast

import (
	"context"
	"encoding/binary"
	"runtime"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	followMethod = "topics.follow"
	pullMethod   = "topics.pull"
	headsMethod  = "topics.heads"
	helloMethod  = "topics.hello"
)

type (
	// follow asks a publisher for its messages, from one on, as long as the stream stands. pull asks for some of them, once.
	follow struct {
		Key   []byte `cbor:"k"`
		Epoch uint64 `cbor:"e,omitempty"` // 0: whichever it is
		Next  uint64 `cbor:"n,omitempty"` // of that epoch; of another: from the first on; 0 and neither of the following: those to come
		Whole bool   `cbor:"w,omitempty"` // from the first on
		Old   bool   `cbor:"o,omitempty"` // those that are kept, made at Since or later
		Since int64  `cbor:"s,omitempty"` // Unix milliseconds
	}
	// heads asks how far a publisher is with some topics.
	heads struct {
		Keys [][]byte `cbor:"k"`
	}
	// head is a frame without messages for each; empty: it does not publish to that topic.
	headsAnswer struct {
		Heads [][]byte `cbor:"h"`
	}
)

// begin is the first message that a follower is to have. The lock is held.
func (l *line) begin(q *follow) uint64 {
	switch {
	case q.Epoch == l.epoch && q.Next > 0:
		return min(q.Next, l.ring.next)
	case q.Whole || q.Epoch != 0:
		return 1
	case q.Old:
		return l.ring.since(q.Since)
	}
	return l.ring.next
}

// frame is a frame of the messages from seq on that fit. The lock is held.
func (l *line) frame(seq uint64, limit int) frame {
	f := frame{Epoch: l.epoch, Turn: l.turn, Oldest: l.ring.first, Next: l.ring.next}
	if l.view != nil {
		f.View = l.view.Version
	}
	f.First, f.Count, f.Body = l.ring.cut(seq, limit)
	return f
}

// bare is a frame of no messages: the next of the stream is seq. The lock is held.
func (l *line) bare(seq uint64) frame {
	f := l.frame(l.ring.next, 0)
	f.First = max(seq, 1)
	return f
}

// onFollow serves a node that follows this one: what it has not had yet goes out together, as much as there is, whenever the last
// write is done. It is a place in the ring and nothing more, so that it delays nobody.
func (c *Cast) onFollow(ctx context.Context, from shoal.PeerID, b []byte, st shoal.Stream) error {
	var q follow
	if err := wire.Unmarshal("question about a topic", b, &q); err != nil {
		return err
	}
	l := c.have(shoal.Key(q.Key))
	if l == nil {
		return silent()
	}
	l.mu.Lock()
	if !l.publishing || l.over {
		l.mu.Unlock()
		return silent()
	}
	at := l.begin(&q)
	f := l.bare(at)
	l.streams++
	l.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.more.Broadcast()
		l.mu.Unlock()
	})()
	defer func() {
		l.mu.Lock()
		l.streams--
		l.mu.Unlock()
	}()
	var out []byte
	for {
		out = appendFrame(out[:0], &f)
		if _, err := st.Write(out); err != nil {
			return err
		}
		if cap(out) > maxBody/4 && f.Count < 16 {
			out = nil // a stream that has little to carry holds little
		}
		l.mu.Lock()
		for at >= l.ring.next && ctx.Err() == nil && !l.ends() {
			l.more.Wait()
		}
		if l.ring.next-at < 8 { // others that are ready may have more to say
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
		}
		switch {
		case ctx.Err() != nil:
			l.mu.Unlock()
			return nil
		case l.ends():
			f = l.bare(at)
			l.mu.Unlock()
			_, err := st.Write(appendFrame(out[:0], &f))
			return err
		}
		f = l.frame(at, maxBody)
		at = f.First + uint64(f.Count)
		l.mu.Unlock()
	}
}

func silent() error {
	return shoal.E(shoal.NotFound, "topic", "this node publishes nothing to it", "")
}

// ends reports whether those who follow are to listen to gossip, or the node stops. The lock is held.
func (l *line) ends() bool {
	return l.over || l.large() && l.channel != nil && !l.c.cfg.Now().Before(l.turned.Add(l.c.cfg.Grace))
}

// appendFrame appends a frame, preceded by its length, as wire.AppendFrame would.
func appendFrame(b []byte, f *frame) []byte {
	const room = 3 // for the length of a frame of 16 KiB and more
	at := len(b)
	b = f.append(append(b, make([]byte, room)...))
	n := len(b) - at - room
	var head [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(head[:], uint64(n))
	copy(b[at+room-k:], head[:k])
	if k < room {
		b = append(b[:at], b[at+room-k:]...)
	}
	return b
}

// onPull answers with some messages, the oldest that are asked for and kept.
func (c *Cast) onPull(_ context.Context, _ shoal.PeerID, b []byte) ([]byte, error) {
	var q follow
	if err := wire.Unmarshal("question about a topic", b, &q); err != nil {
		return nil, err
	}
	l := c.have(shoal.Key(q.Key))
	if l == nil {
		return nil, silent()
	}
	l.mu.Lock()
	if !l.publishing {
		l.mu.Unlock()
		return nil, silent()
	}
	f := l.frame(l.begin(&q), maxBody)
	l.mu.Unlock()
	return f.append(make([]byte, 0, 64+len(f.Body))), nil
}

// onHeads answers how far this node is.
func (c *Cast) onHeads(_ context.Context, _ shoal.PeerID, b []byte) ([]byte, error) {
	var q heads
	if err := wire.Unmarshal("question about topics", b, &q); err != nil {
		return nil, err
	}
	if len(q.Keys) > c.cfg.Topics {
		return nil, shoal.E(shoal.Invalid, "question about topics", "too many at once", "")
	}
	a := headsAnswer{Heads: make([][]byte, len(q.Keys))}
	for i, key := range q.Keys {
		if l := c.have(shoal.Key(key)); l != nil {
			l.mu.Lock()
			if l.publishing {
				f := l.bare(l.ring.next)
				a.Heads[i] = f.append(nil)
			}
			l.mu.Unlock()
		}
	}
	return wire.Marshal(a), nil
}
