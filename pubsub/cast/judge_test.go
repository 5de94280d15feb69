package cast

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// What gossip brings is judged: what is malformed, too large, expired, in another's name or by somebody who is no member is to be
// blamed on who brings it; what was said before is not passed on.
func TestJudge(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		r := b.read(t, Start{})
		a.say(t, 5)
		time.Sleep(time.Second)
		l := b.have(key)
		now := time.Now().UnixMilli()
		record := func(m topic.Message) []byte { return appendRecord(nil, &m, string(a.id)) }
		good := frame{Epoch: a.epochOf(), Oldest: 1, Next: 9, First: 6, Count: 1, Body: record(topic.Message{Body: []byte("m6")})}
		with := func(f func(*frame)) frame { g := good; f(&g); return g }
		other := shoal.NameKey("agent", "other")
		for _, c := range []struct {
			name string
			from shoal.PeerID
			b    []byte
			want Verdict
		}{
			{"good", a.id, appendEnvelope(nil, key, now, &good), Accept},
			{"said before", a.id, appendEnvelope(nil, key, now, &good), Ignore},
			{"of an earlier life", a.id, appendEnvelope(nil, key, now, ptr(with(func(f *frame) { f.Epoch-- }))), Ignore},
			{"empty", a.id, nil, Reject},
			{"cut off", a.id, appendEnvelope(nil, key, now, &good)[:60], Reject},
			{"longer than it says", a.id, append(appendEnvelope(nil, key, now, &good), 0), Reject},
			{"too large", a.id, appendEnvelope(nil, key, now, ptr(with(func(f *frame) { f.Body = make([]byte, maxFrame) }))), Reject},
			{"expired", a.id, appendEnvelope(nil, key, now-time.Minute.Milliseconds()-1, ptr(with(func(f *frame) { f.First++ }))), Reject},
			{"from the future", a.id, appendEnvelope(nil, key, now+time.Minute.Milliseconds()+1, ptr(with(func(f *frame) { f.First++ }))), Reject},
			{"of another topic", a.id, appendEnvelope(nil, other, now, ptr(with(func(f *frame) { f.First++ }))), Reject},
			{"by a stranger", "peer-777", appendEnvelope(nil, key, now, ptr(with(func(f *frame) { f.First++ }))), Reject},
			{"in another node's name", a.id, appendEnvelope(nil, key, now, ptr(with(func(f *frame) {
				f.Body = record(topic.Message{Publisher: string(b.id), Body: []byte("m6")})
			}))), Reject},
			{"more than it has said", a.id, appendEnvelope(nil, key, now, ptr(with(func(f *frame) { f.First = 9 }))), Reject},
		} {
			if got := l.judge(c.from, c.b); got != c.want {
				t.Errorf("%s: %d, not %d", c.name, got, c.want)
			}
		}
		synctest.Wait()
		r.expect(t, a, 1, 5)
	})
}

func ptr[T any](v T) *T { return &v }

// What others ask or tell that makes no sense is refused, and changes nothing.
func TestAskedNonsense(t *testing.T) {
	inWorld(t, 2, Config{}, func(t *testing.T, w *world) {
		a, b := w.nodes[0], w.nodes[1]
		a.say(t, 3)
		time.Sleep(time.Second)
		for _, method := range []string{pullMethod, headsMethod, helloMethod} {
			if _, err := b.at.Ask(t.Context(), a.id, method, []byte{0xff, 1}); shoal.KindOf(err) != shoal.Invalid {
				t.Errorf("%s: %v", method, err)
			}
		}
		far := follow{Key: []byte(key), Epoch: a.epochOf(), Next: 1 << 60}
		if f, err := b.mustLine(t).ask(t.Context(), a.id, far); err != nil || f.Count != 0 || f.Next != 4 {
			t.Errorf("from far ahead: %+v %v", f, err)
		}
		if _, err := b.mustLine(t).ask(t.Context(), a.id, follow{Key: []byte("none")}); shoal.KindOf(err) != shoal.NotFound {
			t.Errorf("of no topic: %v", err)
		}
	})
}

func (n *node) mustLine(t *testing.T) *line {
	t.Helper()
	l, err := n.line(key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
