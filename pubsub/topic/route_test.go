package topic

import (
	"fmt"
	"testing"
)

func routeOf(list ...Binding) *Route {
	for i := range list {
		list[i].ID = fmt.Sprintf("b%d", i)
		if list[i].Kind == "" {
			list[i].Kind = Agent
		}
	}
	return NewRoute(&View{Bindings: list})
}

func TestRouteGroups(t *testing.T) {
	r := routeOf(
		Binding{To: "a", Mode: Each}, Binding{To: "b", Mode: Each, Filter: "json.n > 1"},
		Binding{To: "c", Mode: One, Group: "g"}, Binding{To: "d", Mode: One, Group: "g"}, Binding{To: "e", Mode: One, Group: "h"},
		Binding{To: "f", Mode: Ask}, Binding{To: "x", Mode: Each, Filter: "no such"},
	)
	if len(r.Groups) != 5 {
		t.Fatalf("%d groups", len(r.Groups))
	}
	for body, want := range map[string]int{`{"n":1}`: 4, `{"n":2}`: 5, "text": 4} {
		m := &Message{Body: []byte(body), Publisher: "p", Seq: 1}
		got := 0
		for _, g := range r.Groups {
			if list, _ := g.Pick(m, m.Letter()); len(list) > 0 {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d groups have it, not %d", body, got, want)
		}
	}
}

// Each member of a group gets its share, a key stays with its member, and when one goes no other's keys move.
func TestRendezvous(t *testing.T) {
	var list []Binding
	for i := range 5 {
		list = append(list, Binding{To: fmt.Sprint("a", i), Mode: One})
	}
	all, fewer := routeOf(list...), routeOf(list[:4]...)
	share := map[string]int{}
	for i := range 10000 {
		m := &Message{Key: fmt.Sprint("key", i%2500), Publisher: "p", Seq: uint64(i + 1)}
		a, lane := all.Groups[0].Pick(m, m.Letter())
		b, _ := fewer.Groups[0].Pick(m, m.Letter())
		if len(a) != 5 || len(b) != 4 || lane != "k"+m.Key {
			t.Fatalf("%d and %d members, lane %q", len(a), len(b), lane)
		}
		share[a[0].To]++
		if a[0].To != "a4" && a[0].To != b[0].To {
			t.Fatalf("%s moved from %s to %s", m.Key, a[0].To, b[0].To)
		}
		if a[0].To == "a4" && a[1].To != b[0].To {
			t.Fatalf("%s: its second choice was %s, not %s", m.Key, a[1].To, b[0].To)
		}
	}
	for to, n := range share {
		if n < 1600 || n > 2400 {
			t.Errorf("%s has %d of 10000", to, n)
		}
	}
	// Without a key the message decides.
	share = map[string]int{}
	for i := range 1000 {
		m := &Message{Publisher: "p", Seq: uint64(i + 1)}
		a, lane := all.Groups[0].Pick(m, m.Letter())
		if lane != "" {
			t.Fatalf("lane %q", lane)
		}
		share[a[0].To]++
	}
	if len(share) != 5 {
		t.Errorf("%v", share)
	}
}

func TestLanes(t *testing.T) {
	m := &Message{Publisher: "p", Body: []byte(`{"user":"ada"}`)}
	for want, b := range map[string]Binding{
		"pp":   {To: "a", Mode: Each},
		"kada": {To: "a", Mode: Each, Key: "json.user"},
		"":     {To: "s", Kind: Service, Mode: Each},
	} {
		if _, lane := routeOf(b).Groups[0].Pick(m, m.Letter()); lane != want {
			t.Errorf("%+v: lane %q, not %q", b, lane, want)
		}
	}
}
