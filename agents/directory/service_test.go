package directory

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// TestServices drives a directory of agents and services and a map side by side: a name is of one of both, and the list of
// services has those that there are.
func TestServices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, twin := state{}, map[string]Entry{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			q := Question{Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), Key: fmt.Append(nil, "k", i), Genesis: []byte("g"), Spec: []byte("s")}
			was, known := twin[q.Name]
			switch what := rapid.SampledFrom([]string{"birth", "define", "remove", "lookup"}).Draw(t, "method"); what {
			case "birth", "define":
				e, err := ask(s, what, q)
				if err != nil {
					t.Fatal(err)
				}
				if known && string(e.Key) != string(was.Key) || !known && (e.Service != (what == "define") || string(e.Key) != string(q.Key)) {
					t.Fatalf("%s of %s: %+v, was %+v", what, q.Name, e, was)
				}
				twin[q.Name] = e
			case "remove":
				q.Key = was.Key
				if _, err := ask(s, what, q); (err == nil) != known {
					t.Fatalf("remove of %s: %v, was %+v", q.Name, err, was)
				}
				delete(twin, q.Name)
			case "lookup":
				if e, err := ask(s, what, q); err != nil || string(e.Key) != string(was.Key) || e.Service != was.Service || e.Service && string(e.Spec) != "s" {
					t.Fatalf("lookup of %s: %+v, %v, was %+v", q.Name, e, err, was)
				}
			}
			inst, _ := Behaviour{}.Open(context.Background())
			b, err := inst.Turn(context.Background(), &shoal.Turn{Method: "services", Payload: wire.Marshal(Question{}), State: s, Now: time.UnixMilli(1)})
			var list []Entry
			if err != nil || wire.Unmarshal("list", b, &list) != nil {
				t.Fatal(err)
			}
			want := 0
			for _, e := range twin {
				if e.Service {
					want++
				}
			}
			if len(list) != want {
				t.Fatalf("%d services in the list, and %d there are", len(list), want)
			}
			for _, e := range list {
				if string(twin[e.Name].Key) != string(e.Key) || string(e.Spec) != "s" {
					t.Fatalf("%+v in the list, %+v", e, twin[e.Name])
				}
			}
		}
	})
	if _, err := ask(state{}, "define", Question{Name: "a", Key: []byte("k"), Spec: make([]byte, MaxSpec+1)}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("%v", err)
	}
}
