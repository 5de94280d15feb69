package directory

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// state is an agent's state in memory.
type state map[string][]byte

func (s state) Get(key []byte) ([]byte, bool, error) {
	v, ok := s[string(key)]
	return v, ok, nil
}

func (s state) Put(key, value []byte) error {
	s[string(key)] = bytes.Clone(value)
	return nil
}

func (s state) Delete(key []byte) error {
	delete(s, string(key))
	return nil
}

func (s state) Scan(prefix, after []byte, limit int) (list []shoal.Pair, err error) {
	for k, v := range s {
		if strings.HasPrefix(k, string(prefix)) && k > string(after) {
			list = append(list, shoal.Pair{Key: []byte(k), Value: v})
		}
	}
	slices.SortFunc(list, func(a, b shoal.Pair) int { return bytes.Compare(a.Key, b.Key) })
	return list[:min(len(list), limit)], nil
}

func ask(s state, method string, q Question) (Entry, error) {
	inst, _ := Behaviour{}.Open(context.Background())
	b, err := inst.Turn(context.Background(), &shoal.Turn{Method: method, Payload: wire.Marshal(q), State: s, Now: time.UnixMilli(1)})
	var e Entry
	if err == nil && len(b) > 0 {
		err = wire.Unmarshal("entry", b, &e)
	}
	return e, err
}

// TestNames drives a directory and a map side by side: a name has one key at a time, one that was removed
// never comes back, and only the first of two births counts.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, twin, gone := state{}, map[string]Entry{}, map[string]bool{}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			q := Question{
				Name: rapid.SampledFrom([]string{"a", "b", "ab"}).Draw(t, "name"),
				Key:  []byte(rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")), Genesis: []byte("g"),
			}
			was, known := twin[q.Name]
			mine := known && string(was.Key) == string(q.Key)
			what := rapid.SampledFrom([]string{"birth", "live", "remove", "find", "recover"}).Draw(t, "method")
			if what == "recover" {
				q.Generation = was.Generation + uint64(rapid.IntRange(0, 2).Draw(t, "generation"))
			}
			e, err := ask(s, what, q)
			ok := err == nil
			switch what {
			case "birth":
				want := known || !gone[string(q.Key)]
				if ok != want || ok && known && string(e.Key) != string(was.Key) || ok && !known && !e.Pending {
					t.Fatalf("birth of %s with %s: %+v, %v; was %+v", q.Name, q.Key, e, err, was)
				}
				if ok {
					twin[q.Name] = e
				}
			case "live":
				if ok != mine || ok && e.Pending {
					t.Fatalf("live: %+v, %v; was %+v", e, err, was)
				}
				if ok {
					twin[q.Name] = e
				}
			case "remove":
				if ok != mine {
					t.Fatalf("remove: %v; was %+v", err, was)
				}
				if ok {
					delete(twin, q.Name)
					gone[string(q.Key)] = true
				}
			case "recover":
				if want := mine && q.Generation == was.Generation+1; ok != want {
					t.Fatalf("recover to %d: %v; was %+v", q.Generation, err, was)
				}
				if ok {
					twin[q.Name] = e
				}
			case "find":
				if ok != known || ok && string(e.Key) != string(was.Key) {
					t.Fatalf("find: %+v, %v; was %+v", e, err, was)
				}
			}
		}
	})
}

// TestTogether asks several questions in one turn: each is answered as it would be alone, one after the other.
func TestTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, all := state{}, state{}
		var parts []Part
		var want []Outcome
		for range rapid.IntRange(1, MaxParts).Draw(t, "parts") {
			p := Part{
				Method: rapid.SampledFrom([]string{"birth", "live", "remove"}).Draw(t, "method"),
				Question: Question{
					Name: rapid.SampledFrom([]string{"a", "b", "c/d"}).Draw(t, "name"),
					Key:  []byte(rapid.SampledFrom([]string{"k1", "k2"}).Draw(t, "key")), Genesis: []byte("g"),
				},
			}
			var o Outcome
			err := error(shoal.E(shoal.Invalid, "directory", `"remove" is not asked together with others`, ""))
			if p.Method != "remove" {
				o.Entry, err = ask(one, p.Method, p.Question)
			}
			if err != nil {
				o = Outcome{Failure: wire.FromError(err)}
			}
			parts, want = append(parts, p), append(want, o)
		}
		inst, _ := Behaviour{}.Open(context.Background())
		got, err := inst.Turn(context.Background(), &shoal.Turn{
			Method: "together", Payload: wire.Marshal(Question{Each: parts}), State: all, Now: time.UnixMilli(1),
		})
		if err != nil || !bytes.Equal(got, wire.Marshal(want)) {
			t.Fatalf("%v: %v, want %v, %v", parts, got, want, err)
		}
		if !maps.EqualFunc(one, all, bytes.Equal) {
			t.Fatalf("the state is %v, want %v", all, one)
		}
	})
	if _, err := ask(state{}, "together", Question{Each: make([]Part, MaxParts+1)}); shoal.KindOf(err) != shoal.Invalid {
		t.Error("too many questions:", err)
	}
}

func TestList(t *testing.T) {
	s := state{}
	for i := range 25 {
		if _, err := ask(s, "birth", Question{Name: fmt.Sprintf("n%02d", i), Key: []byte{1, byte(i)}, Genesis: []byte("g")}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for after := ""; ; {
		inst, _ := Behaviour{}.Open(context.Background())
		b, err := inst.Turn(context.Background(), &shoal.Turn{Method: "list", Payload: wire.Marshal(Question{After: after, Limit: 10}), State: s})
		if err != nil {
			t.Fatal(err)
		}
		var page []Entry
		if err := wire.Unmarshal("page", b, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			names = append(names, e.Name)
		}
		if len(page) < 10 {
			break
		}
		after = page[len(page)-1].Name
	}
	if len(names) != 25 || !slices.IsSorted(names) {
		t.Errorf("listed %v", names)
	}
}

func TestBadQuestions(t *testing.T) {
	for method, q := range map[string]Question{
		"find": {Name: ""}, "birth": {Name: "a/b", Key: []byte("k"), Genesis: []byte("g")}, "live": {Name: strings.Repeat("x", MaxName+1)},
	} {
		if _, err := ask(state{}, method, q); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s %+v: %v, want invalid", method, q, err)
		}
	}
	if _, err := ask(state{}, "birth", Question{Name: "a"}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("birth without a key: %v", err)
	}
	if _, err := ask(state{}, "steal", Question{}); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("unknown method: %v", err)
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add("birth", wire.Marshal(Question{Name: "a", Key: []byte("k"), Genesis: []byte("g")}))
	f.Add("list", wire.Marshal(Question{After: "a", Limit: 3}))
	f.Fuzz(func(t *testing.T, method string, payload []byte) {
		s := state{}
		inst, _ := Behaviour{}.Open(context.Background())
		for range 2 {
			if _, err := inst.Turn(context.Background(), &shoal.Turn{Method: method, Payload: payload, State: s}); err != nil {
				if k := shoal.KindOf(err); k == shoal.Internal || k == shoal.Corrupt {
					t.Fatal(err)
				}
			}
		}
	})
}
