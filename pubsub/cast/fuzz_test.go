package cast

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/wire"
)

var agentKey = "b" + strings.Repeat("a", 58)

// drawMessage draws a message as a publisher may send it.
func drawMessage(t *rapid.T) topic.Message {
	m := topic.Message{
		Publisher: rapid.SampledFrom([]string{"me", agentKey}).Draw(t, "publisher"),
		At:        rapid.Int64Range(0, 1<<50).Draw(t, "at"),
		Key:       rapid.StringN(0, 20, topic.MaxKey).Draw(t, "key"),
		Trace:     rapid.StringN(0, 20, topic.MaxTrace).Draw(t, "trace"),
	}
	if rapid.Bool().Draw(t, "data") {
		m.Data = "bafy"
	} else if n := rapid.SampledFrom([]int{0, 1, 100, 127, 128, 5000, topic.MaxBody}).Draw(t, "size"); n > 0 {
		m.Body = bytes.Repeat([]byte{byte(n)}, n)
	}
	return m
}

func same(a, b topic.Message) bool {
	return a.Publisher == b.Publisher && a.At == b.At && a.Key == b.Key && a.Trace == b.Trace && a.Data == b.Data && bytes.Equal(a.Body, b.Body)
}

// A ring gives back what was put into it, from any place on and in any pieces.
func TestRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRing()
		var all []topic.Message
		bytes, limit := 0, rapid.IntRange(1, 1<<18).Draw(t, "limit")
		for range rapid.IntRange(1, 100).Draw(t, "messages") {
			m := drawMessage(t)
			m.At = int64(len(all))
			bytes += r.add(&m, "me")
			for r.bytes > limit {
				n := r.drop()
				if n == 0 {
					break
				}
				bytes -= n
			}
			all = append(all, m)
		}
		if bytes != r.bytes || r.next != uint64(len(all))+1 || r.first == r.next {
			t.Fatalf("%d bytes counted, %d said; %d to %d of %d", bytes, r.bytes, r.first, r.next, len(all))
		}
		seq := uint64(rapid.IntRange(0, len(all)).Draw(t, "from"))
		for seq = max(seq, r.first); seq < r.next; {
			first, n, b := r.cut(seq, rapid.IntRange(0, 1<<17).Draw(t, "piece"))
			if first != seq || n == 0 {
				t.Fatalf("cut at %d gave %d of %d", seq, n, first)
			}
			f := frame{Epoch: 1, Oldest: r.first, Next: r.next, First: first, Count: n, Body: b}
			got, err := parseFrame(f.append(nil))
			if len(b) > maxBody+maxRecord {
				return
			}
			if err != nil || got.First != first || got.Count != n {
				t.Fatal(err)
			}
			skip := uint64(rapid.IntRange(0, n).Draw(t, "skip"))
			got.from(first + skip)
			if got.Count != n-int(skip) || got.First != first+skip {
				t.Fatalf("%d from %d on are %d from %d on", n, first, got.Count, got.First)
			}
			rest := got.Body
			for i := skip; i < uint64(n); i++ {
				var m topic.Message
				var ok bool
				if rest, ok = readRecord(rest, &m, "me"); !ok || !same(m, all[first+i-1]) {
					t.Fatalf("%d came as %+v", first+i, m)
				}
			}
			seq += uint64(n)
		}
		at := rapid.IntRange(0, len(all)).Draw(t, "since")
		if got := r.since(int64(at)); got != max(r.first, uint64(at)+1) {
			t.Fatalf("since %d is %d, the oldest %d", at, got, r.first)
		}
	})
}

// A frame's length comes before it, as wire reads it, whatever it is.
func TestAppendFrame(t *testing.T) {
	for _, n := range []int{0, 1, 100, 110, 127, 128, 5000, 16300, 16383, 16384, maxBody} {
		m := topic.Message{Body: make([]byte, min(n, topic.MaxBody))}
		f := frame{Epoch: 1, Oldest: 1, Next: 9, First: 1, Count: 1, Body: appendRecord(nil, &m, "me")}
		b := appendFrame([]byte("x"), &f)
		got, err := wire.ReadFrame(bytes.NewReader(b[1:]), maxFrame)
		if err != nil || b[0] != 'x' {
			t.Fatal(n, err)
		}
		if g, err := parseFrame(got); err != nil || g.Count != 1 {
			t.Fatal(n, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	m := topic.Message{Publisher: agentKey, Key: "k", Trace: "t", Body: []byte("body"), At: 77}
	good := frame{Epoch: 5, Turn: 1, View: 2, Oldest: 1, Next: 9, First: 3, Count: 1, Body: appendRecord(nil, &m, "me")}
	f.Add(good.append(nil))
	f.Add([]byte{})
	two := good
	two.Count, two.Body = 2, append(two.Body, two.Body...)
	f.Add(two.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFrame(b)
		if err != nil {
			return
		}
		if got.First == 0 || got.First+uint64(got.Count) > got.Next || got.Oldest > got.Next || got.Oldest == 0 {
			t.Fatalf("%+v", got)
		}
		rest := got.Body
		for range got.Count {
			var m topic.Message
			var ok bool
			if rest, ok = readRecord(rest, &m, "me"); !ok || m.Check() != nil {
				t.Fatalf("%+v", m)
			}
			if m.Publisher != "me" && !agentLike(m.Publisher) {
				t.Fatalf("in the name of %q", m.Publisher)
			}
		}
		got.from(got.First + rand.Uint64N(uint64(got.Count)+1))
		if _, err := parseFrame(got.append(nil)); err != nil && got.Oldest <= got.Next {
			t.Fatal(err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	good := frame{Epoch: 5, Oldest: 1, Next: 9, First: 9}
	f.Add(appendEnvelope(nil, key, 1<<40, &good))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, at, got, err := parseEnvelope(b)
		if err != nil {
			return
		}
		k2, at2, again, err := parseEnvelope(appendEnvelope(nil, k, at, &got))
		if err != nil || k2 != k || at2 != at || again.Next != got.Next || again.Count != got.Count || !bytes.Equal(again.Body, got.Body) {
			t.Fatal(err)
		}
	})
}
