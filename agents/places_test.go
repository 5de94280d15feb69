package agents

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/shoal-fabric/shoal"
)

// TestPlacesAreFew: what is known of agents that were made or called has bounds, what is used stays, and peers' names
// are kept once.
func TestPlacesAreFew(t *testing.T) {
	p := newPlaces()
	key := func(i int) shoal.Key { return shoal.Key(fmt.Sprint("key ", i)) }
	peer := func() shoal.PeerID { return shoal.PeerID(strings.Clone("a peer")) }
	first := key(-1)
	p.note(first, place{Leader: peer(), Keepers: []shoal.PeerID{peer()}})
	for i := range 2 * maxPlaces {
		p.made(key(i), place{Keepers: []shoal.PeerID{peer()}})
	}
	if n := p.fresh.Len(); n != maxFresh || p.list.Len() != 1 {
		t.Errorf("%d of the agents that were made are known, and %d that were called", n, p.list.Len())
	}
	last := key(2*maxPlaces - 1)
	at, ok := p.get(last)
	if !ok || p.fresh.Contains(last) || !p.list.Contains(last) {
		t.Error("an agent that was made and then called has no place among those that are called")
	}
	for i := range 2 * maxPlaces {
		p.note(key(i), place{Leader: peer(), Order: order{Term: 1}})
		if _, ok := p.get(first); !ok {
			t.Fatal("what is used is forgotten")
		}
	}
	if n := p.list.Len(); n != maxPlaces {
		t.Errorf("%d places", n)
	}
	p.made(first, place{})
	if now, _ := p.get(first); now.Leader != "a peer" {
		t.Errorf("what is known better is overwritten: %+v", now)
	}
	was, _ := p.get(first)
	if unsafe.StringData(string(at.Keepers[0])) != unsafe.StringData(string(was.Leader)) {
		t.Error("a peer's name is kept twice")
	}
	p.note(first, place{Leader: "another", Order: order{Term: 2}})
	if now, _ := p.get(first); now.Leader != "another" || len(now.Keepers) != 1 {
		t.Errorf("a newer belief gives %+v", now)
	}
	p.failed(first, "another")
	p.note(first, place{Leader: "old", Order: order{Term: 1}})
	if now, _ := p.get(first); now.Leader != "" {
		t.Errorf("%s leads", now.Leader)
	}
	p.forget(first)
	if _, ok := p.get(first); ok {
		t.Error("it is not forgotten")
	}
}
