package turn

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// table is a state in memory.
type table map[string][]byte

func (m table) Get(key []byte) ([]byte, bool, error) {
	v, ok := m[string(key)]
	return v, ok, nil
}

func (m table) Scan(low, high []byte) iter.Seq2[[]byte, Cell] {
	var keys []string
	for k := range m {
		if k >= string(low) && (high == nil || k < string(high)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return func(yield func([]byte, Cell) bool) {
		for _, k := range keys {
			if !yield([]byte(k), Cell{Value: m[k]}) {
				return
			}
		}
	}
}

func (m table) apply(list []Write) {
	for _, w := range list {
		if w.Delete {
			delete(m, string(w.Key))
		} else {
			m[string(w.Key)] = w.Value
		}
	}
}

func (m table) equal(o table) bool {
	if len(m) != len(o) {
		return false
	}
	for k, v := range m {
		if w, ok := o[k]; !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}

var epoch = time.UnixMilli(1_800_000_000_000)

func key(n int) shoal.Key { return shoal.NameKey("agent", fmt.Sprint(n)) }

// TestPipe runs turns on staged state while applying lags behind, loses leadership at times, and compares
// with the same entries applied one by one, and with a map that knows nothing of either.
func TestPipe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		applied, follower, twin := table{}, table{}, map[string]string{}
		pipe := NewPipe(applied)
		type entry struct {
			index  uint64
			bytes  []byte
			writes []Write
			twin   map[string]string
		}
		var waiting []entry
		index, now := uint64(0), epoch
		staged := map[string]string{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0: // the oldest commits
				if len(waiting) == 0 {
					continue
				}
				e := waiting[0]
				waiting = waiting[1:]
				applied.apply(e.writes)
				pipe.Applied(e.index)
				for _, w := range e.writes { // what the pipe remembers of the applied state
					v, ok, err := pipe.Settled().Get(w.Key)
					was, is := applied[string(w.Key)]
					if err != nil || ok != is || string(v) != string(was) {
						t.Fatalf("%q is %q, %v, and %q, %v was applied", w.Key, v, ok, was, is)
					}
				}
				d, err := Decode(e.bytes)
				if err != nil {
					t.Fatal(err)
				}
				list, err := Mutations(follower, d)
				if err != nil {
					t.Fatal(err)
				}
				follower.apply(list)
				twin = e.twin
				if !applied.equal(follower) {
					t.Fatalf("leader and follower differ after %+v:\n%v\n%v", d, applied, follower)
				}
			case 1:
				if rapid.IntRange(0, 9).Draw(t, "lose") == 0 {
					waiting, staged = nil, clone(twin)
					pipe.Reset()
				}
			default:
				s := NewStage(pipe, now, 0, false)
				mine := clone(staged)
				for range rapid.IntRange(0, 6).Draw(t, "ops") {
					k := rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "key")
					switch rapid.IntRange(0, 3).Draw(t, "op") {
					case 0:
						must(t, s.Delete([]byte(k)))
						delete(mine, k)
					case 1:
						must(t, s.Timer(k, time.Duration(rapid.IntRange(-1, 5).Draw(t, "delay"))*time.Second, "tick", nil))
						must(t, s.Send(key(rapid.IntRange(1, 2).Draw(t, "to")), "m", []byte(k)))
					default:
						v := rapid.StringMatching(`[x-z]{0,3}`).Draw(t, "value")
						must(t, s.Put([]byte(k), []byte(v)))
						mine[k] = v
					}
					compare(t, s, mine)
				}
				index++
				m := Message{Method: "m", Request: Request{Session: Session(now.UnixMilli(), fmt.Sprint(index%3)), Number: index, Done: max(1, index-2)}}
				e, err := s.Turn(m, []byte("reply"))
				must(t, err)
				list, err := pipe.Push(index, e)
				must(t, err)
				staged = mine
				waiting = append(waiting, entry{index, e.Encode(), list, clone(mine)})
			}
			compare(t, NewStage(pipe, now, 0, true), staged)
			compare(t, NewStage(applied, now, 0, true), twin)
			check(t, pipe)
		}
	})
}

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

func must(t interface{ Fatal(...any) }, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// compare holds what a turn sees against a map.
func compare(t *rapid.T, s *Stage, want map[string]string) {
	for _, prefix := range []string{"", "a", "b"} {
		got, err := s.Scan([]byte(prefix), nil, 100)
		must(t, err)
		n := 0
		for k := range want {
			if strings.HasPrefix(k, prefix) {
				n++
			}
		}
		if len(got) != n {
			t.Fatalf("scan %q gave %d pairs, want %d of %v", prefix, len(got), n, want)
		}
		last := ""
		for _, p := range got {
			if string(p.Key) <= last || want[string(p.Key)] != string(p.Value) {
				t.Fatalf("scan %q gave %q=%q after %q, want %v", prefix, p.Key, p.Value, last, want)
			}
			last = string(p.Key)
			v, ok, err := s.Get(p.Key)
			if err != nil || !ok || !bytes.Equal(v, p.Value) {
				t.Fatalf("get %q gave %q, %v, %v", p.Key, v, ok, err)
			}
		}
		if len(got) > 1 {
			rest, err := s.Scan([]byte(prefix), got[0].Key, 1)
			if err != nil || len(rest) != 1 || !bytes.Equal(rest[0].Key, got[1].Key) {
				t.Fatalf("scan after %q gave %v, %v", got[0].Key, rest, err)
			}
		}
	}
}

// check recounts what Meta counts.
func check(t *rapid.T, v View) {
	m, err := ReadMeta(v)
	must(t, err)
	var n uint64
	for k, c := range v.Scan([]byte{ofUser}, []byte{ofUser + 1}) {
		n += uint64(len(k) - 1 + len(c.Value))
	}
	timers, err := Timers(v)
	must(t, err)
	if m.Bytes != n || m.Timers != uint64(len(timers)) {
		t.Fatalf("meta says %d bytes and %d timers, there are %d and %d", m.Bytes, m.Timers, n, len(timers))
	}
	next := map[string]uint64{}
	list, err := Outbox(v, 1000)
	must(t, err)
	for _, p := range list {
		if old, ok := next[string(p.To)]; ok && p.Number != old+1 {
			t.Fatalf("message %d follows %d", p.Number, old)
		}
		next[string(p.To)] = p.Number
	}
}

// run processes one request on a state and applies it.
func run(t *testing.T, v table, r Request, payload string) {
	t.Helper()
	s := NewStage(v, epoch, 0, false)
	must(t, s.Put([]byte("k"), []byte(payload)))
	e, err := s.Turn(Message{Method: "set", Payload: []byte(payload), Request: r}, []byte("ok "+payload))
	must(t, err)
	list, err := Mutations(v, e)
	must(t, err)
	v.apply(list)
}

func TestOnce(t *testing.T) {
	v := table{}
	session := Session(epoch.UnixMilli(), "a")
	r := Request{Session: session, Number: 1}
	look := func(r Request, payload string) (string, bool, shoal.Kind) {
		out, done, err := Lookup(v, r, Digest("set", []byte(payload)))
		if err == nil {
			return string(out), done, shoal.Internal
		}
		return "", false, shoal.KindOf(err)
	}
	if _, done, kind := look(r, "x"); done || kind != shoal.Internal {
		t.Fatal("a new request was done already")
	}
	run(t, v, r, "x")
	if out, done, _ := look(r, "x"); !done || out != "ok x" {
		t.Fatalf("the recorded reply is %q, %v", out, done)
	}
	if _, _, kind := look(r, "y"); kind != shoal.Refused {
		t.Fatalf("another payload under the same name: %v, want refused", kind)
	}
	run(t, v, Request{Session: session, Number: 3, Done: 3}, "z") // the caller has 1, and gave up 2
	for n := range uint64(2) {
		if _, _, kind := look(Request{Session: session, Number: n + 1}, "x"); kind != shoal.Failed {
			t.Fatalf("request %d below what the caller has: %v, want failed", n+1, kind)
		}
	}
	run(t, v, Named("order 7"), "n")
	late := epoch.Add(Retention + time.Second).UnixMilli()
	stale, err := Stale(v, late-Retention.Milliseconds(), 100)
	must(t, err)
	if len(stale) != 2 {
		t.Fatalf("stale: %v, want both sessions", stale)
	}
	list, err := Mutations(v, &Entry{Kind: Expire, At: late, Sessions: stale})
	must(t, err)
	v.apply(list)
	for _, r := range []Request{{Session: session, Number: 3}, {Session: session, Number: 9}, Named("order 7")} {
		if _, _, kind := look(r, "n"); kind != shoal.Failed && kind != shoal.Refused {
			t.Errorf("%s after it expired: %v, want that it never runs", r, kind)
		}
	}
	if _, done, kind := look(Request{Session: Session(late, "b"), Number: 1}, "x"); done || kind != shoal.Internal {
		t.Error("a new session is taken for an expired one")
	}
	for k := range v {
		if k[0] == ofSession || k[0] == ofReply && !strings.Contains(k, "order 7") {
			t.Errorf("%q stays after all expired", k)
		}
	}
}

func TestDerive(t *testing.T) {
	r := Request{Session: Session(epoch.UnixMilli(), "a"), Number: 7}
	seen := map[string]bool{}
	for _, x := range []Request{r.Derive(key(1), 0), r.Derive(key(1), 1), r.Derive(key(2), 0), Named("a").Derive(key(1), 0)} {
		if err := x.check(); err != nil || seen[x.String()] {
			t.Errorf("%s: %v, seen before: %v", x, err, seen[x.String()])
		}
		seen[x.String()] = true
	}
	again := Request{Session: r.Session, Number: r.Number, Done: 3} // another try may know of more replies
	if r.Derive(key(1), 0) != again.Derive(key(1), 0) {
		t.Error("two tries have different names")
	}
	if at := begun(r.Derive(key(1), 0).Session); at != epoch.UnixMilli() {
		t.Errorf("a derived request began at %d, not when its chain did", at)
	}
}

func TestOutbox(t *testing.T) {
	v := table{}
	send := func(texts ...string) {
		s := NewStage(v, epoch, 0, false)
		for _, x := range texts {
			must(t, s.Send(key(1), "m", []byte(x)))
		}
		e, err := s.Turn(Message{Method: "go"}, nil)
		must(t, err)
		list, err := Mutations(v, e)
		must(t, err)
		v.apply(list)
	}
	settle := func(s ...Settled) {
		list, err := Mutations(v, &Entry{Kind: Settle, At: epoch.UnixMilli(), Settled: s})
		must(t, err)
		v.apply(list)
	}
	send("a", "b", "c")
	settle(Settled{To: []byte(key(1)), Number: 1})
	settle(Settled{To: []byte(key(1)), Number: 2, Why: "refused"})
	send("d")
	list, err := Outbox(v, 10)
	must(t, err)
	if len(list) != 2 || list[0].Number != 3 || list[1].Number != 4 || string(list[1].Payload) != "d" {
		t.Fatalf("outbox %+v, want messages 3 and 4", list)
	}
	dead := 0
	for k := range v {
		if k[0] == ofDead {
			dead++
		}
	}
	if dead != 1 {
		t.Errorf("%d dead messages, want the one that was given up", dead)
	}
}

func TestLimits(t *testing.T) {
	s := NewStage(table{}, epoch, 100, false)
	want := func(kind shoal.Kind, err error) {
		t.Helper()
		if shoal.KindOf(err) != kind || err == nil {
			t.Errorf("got %v, want kind %v", err, kind)
		}
	}
	want(shoal.Invalid, s.Put(nil, nil))
	want(shoal.Invalid, s.Put(make([]byte, MaxKey+1), nil))
	want(shoal.Invalid, s.Put([]byte("k"), make([]byte, MaxValue+1)))
	want(shoal.Full, s.Put([]byte("k"), make([]byte, 100)))
	must(t, s.Put([]byte("k"), make([]byte, 99)))
	must(t, s.Put([]byte("k"), make([]byte, 98)))
	want(shoal.Full, s.Put([]byte("l"), make([]byte, 1)))
	must(t, s.Delete([]byte("k")))
	must(t, s.Put([]byte("l"), make([]byte, 1)))
	want(shoal.Invalid, s.Send(key(1), "m", make([]byte, MaxPayload+1)))
	want(shoal.Invalid, s.Timer("", 0, "m", nil))
	_, err := s.Turn(Message{Method: "m"}, make([]byte, MaxPayload+1))
	want(shoal.Failed, err)
	big := NewStage(table{}, epoch, 0, false)
	for i := range 3 {
		err = big.Put([]byte{byte('a' + i)}, make([]byte, MaxValue))
	}
	want(shoal.Full, err)
	r := NewStage(table{}, epoch, 0, true)
	want(shoal.Refused, r.Put([]byte("k"), nil))
	want(shoal.Refused, r.Timer("t", 0, "m", nil))
}

func FuzzDecode(f *testing.F) {
	s := NewStage(table{}, epoch, 0, false)
	_ = s.Put([]byte("k"), []byte("v"))
	_ = s.Send(key(1), "m", nil)
	_ = s.Timer("t", time.Second, "m", nil)
	e, _ := s.Turn(Message{Method: "m", Request: Named("x")}, []byte("r"))
	f.Add(e.Encode())
	f.Add((&Entry{Kind: Settle, Settled: []Settled{{To: []byte(key(1)), Number: 1, Why: "w"}}}).Encode())
	f.Add((&Entry{Kind: Expire, Sessions: []string{"id:x"}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			if shoal.KindOf(err) != shoal.Corrupt {
				t.Fatal(err)
			}
			return
		}
		v := table{}
		list, err := Mutations(v, e)
		if err != nil {
			return
		}
		v.apply(list)
		if _, err := Mutations(v, e); err != nil {
			t.Fatalf("an entry that was applied cannot be applied to what it made: %v", err)
		}
	})
}
