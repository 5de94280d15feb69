package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestDefinedOnce(t *testing.T) {
	w := newWorld(t, Definition{Audience: Small})
	var v View
	w.must("define", Definition{Audience: Small}, &v)
	if !v.Made || v.Version != 1 || v.Audience != Small {
		t.Fatalf("%+v", v)
	}
	w.refuses(shoal.Exists, "define", Definition{Durable: true})
	w.refuses(shoal.Invalid, "define", Definition{Audience: "huge"})
	w.refuses(shoal.NotFound, "steal", nil)
	for _, m := range []string{"append", "read", "consumers", "dead", "resend"} { // it keeps nothing
		w.refuses(shoal.Refused, m, Read{})
	}
	w.refuses(shoal.Refused, "tend", nil) // only timers do
	w.refuses(shoal.Refused, "trim", nil)
	other := &world{t: t, kept: w.kept, now: w.now, caller: "peer", timers: w.timers}
	other.kept = newWorld(t, Definition{}).kept
	for _, d := range []Definition{
		{Durable: true, Audience: Large},
		{Retain: time.Hour},
		{Durable: true, Tries: 1001},
		{Durable: true, RetainBytes: 1 << 40},
		{Durable: true, RetainBytes: 1},
		{Durable: true, Retain: -1},
		{Durable: true, AckWait: time.Millisecond},
	} {
		if d.Check() == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}

func TestUndefined(t *testing.T) {
	w := newWorld(t, Definition{})
	for _, k := range w.kept.Keys("") {
		_ = w.kept.Delete([]byte(k))
	}
	w.kept.Commit()
	for _, m := range (Behaviour{}).Methods() {
		if m != "define" && m != "view" {
			w.refuses(shoal.Refused, m, nil)
		}
	}
	var v View
	w.must("view", nil, &v)
	if v.Made {
		t.Fatalf("%+v", v)
	}
}

// TestBindings binds and unbinds at random, and looks whether exactly the consumers of what is bound are there.
func TestBindings(t *testing.T) {
	for s := range uint64(30) {
		r := rand.New(rand.NewPCG(*seed+s, 1))
		w := newWorld(t, Definition{Durable: true})
		bound := map[string]Binding{}
		version := uint64(1)
		for range 60 {
			b := Binding{Kind: Agent, To: fmt.Sprint("a", r.IntN(3)), Method: "m", Mode: []string{Each, One, Ask}[r.IntN(3)]}
			if b.Mode != Each && r.IntN(2) == 0 {
				b.Group = "g"
			}
			if r.IntN(4) == 0 {
				b.Kind, b.Method = Service, ""
			}
			switch r.IntN(4) {
			case 0:
				what, n := b.To+".m", 0
				want := 0
				if b.Method == "" {
					what = b.To
				}
				for id, x := range bound {
					if x.To == b.To && x.Method == b.Method {
						want++
						delete(bound, id)
					}
				}
				w.must("unbind", []byte(what), &n)
				if n != want {
					t.Fatalf("seed %d: unbind %s took %d, want %d", *seed+s, what, n, want)
				}
				if n > 0 {
					version++
				}
			case 1:
				w.append("x")
			default:
				var got Binding
				w.must("bind", b, &got)
				if was, had := bound[got.ID]; had && was != got {
					t.Fatalf("seed %d: bound again: %+v, was %+v", *seed+s, got, was)
				} else if !had {
					version++
				}
				bound[got.ID] = got
			}
			var v View
			w.must("view", nil, &v)
			want := map[string]bool{}
			for _, x := range bound {
				if x.Mode != Ask {
					want[x.Consumer()] = true
				}
			}
			var list []Consumer
			w.must("consumers", nil, &list)
			for _, c := range list {
				if !want[c.Name] || !c.Holds {
					t.Fatalf("seed %d: consumer %+v of nothing", *seed+s, c)
				}
			}
			if len(list) != len(want) || len(v.Bindings) != len(bound) || v.Version != version {
				t.Fatalf("seed %d: %d consumers and %d bindings in version %d, want %d, %d, %d", *seed+s, len(list), len(v.Bindings), v.Version, len(want), len(bound), version)
			}
			for i, x := range v.Bindings {
				if x != bound[x.ID] || i > 0 && x.ID <= v.Bindings[i-1].ID {
					t.Fatalf("seed %d: %+v", *seed+s, v.Bindings)
				}
			}
		}
	}
}

func TestBindingsEnd(t *testing.T) {
	w := newWorld(t, Definition{Durable: true})
	for i := range MaxBindings {
		w.must("bind", Binding{Kind: Service, To: fmt.Sprint("s", i), Mode: Each}, nil)
	}
	w.must("bind", Binding{Kind: Service, To: "s7", Mode: Each}, nil) // is there
	w.refuses(shoal.Exists, "bind", Binding{Kind: Service, To: "one more", Mode: Each})
	w.refuses(shoal.Invalid, "bind", Binding{Kind: Service, To: "s", Mode: "some"})
	w.append("x")
	var v View
	w.must("view", nil, &v)
	if v.Pending != 1 {
		t.Fatalf("%d are pending", v.Pending)
	}
}

// TestFrom: a binding begins where it is told, within what is kept.
func TestFrom(t *testing.T) {
	w := newWorld(t, Definition{Durable: true})
	w.append("a", "b", "c")
	for from, want := range map[uint64]uint64{0: 4, 1: 1, 3: 3, 99: 4} {
		var b Binding
		w.must("bind", Binding{Kind: Service, To: fmt.Sprint("s", from), Mode: Each, From: from}, &b)
		p, _ := w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Limit: 9})
		if b.From != want || len(p.Messages) != int(4-want) {
			t.Fatalf("from %d it begins at %d, and gets %d", from, b.From, len(p.Messages))
		}
	}
}

func TestPresences(t *testing.T) {
	w := newWorld(t, Definition{})
	join := func(p Presence) (v View) {
		t.Helper()
		w.must("join", p, &v)
		return v
	}
	v := join(Presence{Peer: "a", Epoch: 1})
	v = join(Presence{Peer: "b", Epoch: 1, Publishes: true})
	if v.Subscribed != 1 || len(v.Subs) != 1 || v.Subs[0].Peer != "a" || len(v.Pubs) != 1 || v.Pubs[0].Number <= v.Subs[0].Number {
		t.Fatalf("%+v", v)
	}
	number := v.Pubs[0].Number
	if err := w.call("join", Presence{Peer: "b", Epoch: 1, Publishes: true}, nil); err != nil || w.kept.Writes > 0 {
		t.Fatalf("what was said a moment ago writes %d: %v", w.kept.Writes, err)
	}
	w.now = w.now.Add(Renew)
	if v = join(Presence{Peer: "b", Epoch: 1, Publishes: true}); v.Pubs[0].Number != number {
		t.Fatalf("its number is another: %+v", v)
	}
	w.now = w.now.Add(Lease - Renew + time.Second)
	if v = join(Presence{Peer: "c", Epoch: 1, Publishes: true}); v.Subscribed != 0 || len(v.Subs) != 0 || len(v.Pubs) != 2 || v.Pubs[0].Peer != "c" {
		t.Fatalf("a is over: %+v", v)
	}
	if v = join(Presence{Peer: "b", Epoch: 2, Publishes: true}); v.Pubs[0].Peer != "b" || v.Pubs[0].Number <= number {
		t.Fatalf("another life has another number: %+v", v)
	}
	if v = join(Presence{Peer: "b", Epoch: 2, Publishes: true, Leaves: true}); len(v.Pubs) != 1 {
		t.Fatalf("b left: %+v", v)
	}
	join(Presence{Peer: "nobody", Leaves: true})
	w.refuses(shoal.Invalid, "join", Presence{})
}

// TestPresencesAreBounded: of many that come and stay away, as many are kept as may be, all of which go in time.
func TestPresencesAreBounded(t *testing.T) {
	w := newWorld(t, Definition{})
	r := rand.New(rand.NewPCG(*seed, 2))
	for i := range MaxPresent {
		w.must("join", Presence{Peer: shoal.PeerID(fmt.Sprintf("%08x", r.Uint32())), Epoch: uint64(i)}, nil)
	}
	for i := range maxShown + 100 {
		w.must("join", Presence{Peer: shoal.PeerID(fmt.Sprint("p", i)), Epoch: 1, Publishes: true}, nil)
	}
	var v View
	w.must("view", nil, &v)
	if v.Subscribed != MaxPresent || len(v.Subs) != Shown || len(v.Pubs) != maxShown {
		t.Fatalf("%d subscribe, %d and %d are shown", v.Subscribed, len(v.Subs), len(v.Pubs))
	}
	w.refuses(shoal.Overloaded, "join", Presence{Peer: "one more", Epoch: 1})
	w.now = w.now.Add(Lease + time.Second)
	rounds := 0
	for ; rounds < 2*MaxPresent && len(w.kept.Keys("s"))+len(w.kept.Keys("p")) > 40; rounds++ { // some stay, and those are enough
		w.must("join", Presence{Peer: shoal.PeerID(fmt.Sprintf("%08x", r.Uint32())), Epoch: 1}, nil)
		if rounds%8 == 0 {
			w.must("join", Presence{Peer: shoal.PeerID(fmt.Sprint("p", r.IntN(maxShown))), Epoch: 1, Publishes: true}, nil)
		}
		if rounds%10 == 0 {
			w.now = w.now.Add(Lease)
		}
	}
	if len(w.kept.Keys("s"))+len(w.kept.Keys("p")) > 40 {
		t.Fatalf("%d presences stay, of which most are over", len(w.kept.Keys("s"))+len(w.kept.Keys("p")))
	}
	if n, m := len(w.kept.Keys("p")), len(w.kept.Keys("n")); n != m {
		t.Fatalf("%d publishers, and %d by number", n, m)
	}
}

// TestCast: what agents publish in a fast topic waits for who sends it on, for a minute, and wakes the topic.
func TestCast(t *testing.T) {
	w := newWorld(t, Definition{})
	w.caller = "agent"
	var offset []byte
	w.must("publish", []byte("one"), &offset)
	w.must("publish", []byte("two"), nil)
	if string(offset) != "1" {
		t.Fatalf("published at %q", offset)
	}
	if fired := w.pass(4 * time.Second); !slices.Equal(fired, []string{"tend", "tend"}) {
		t.Fatalf("%q fired", fired)
	}
	p, got := w.fetch(Fetch{Consumer: Cast, Worker: "w", Limit: 9})
	if got != "1:one/1 2:two/1 " || p.Messages[0].Publisher != "agent" {
		t.Fatalf("%s %+v", got, p)
	}
	w.fetch(Fetch{Consumer: Cast, Worker: "w", Ack: []uint64{1, 2}})
	w.pass(10 * time.Minute)
	if len(w.timers) > 0 || len(w.kept.Keys("l")) > 0 {
		t.Fatalf("there are still %v and %q", w.timers, w.kept.Keys("l"))
	}
	w.must("publish", []byte("three"), nil) // nobody takes it
	w.pass(10 * time.Minute)
	if len(w.timers) > 0 || len(w.kept.Keys("l")) > 0 {
		t.Fatalf("there are still %v and %q", w.timers, w.kept.Keys("l"))
	}
	w.refuses(shoal.Refused, "fetch", Fetch{Consumer: "x", Worker: "w", Limit: 1})
	w.refuses(shoal.Invalid, "publish", make([]byte, MaxBody+1))
}

// TestTend: a timer is set once while something waits, with growing delays, and none when nothing does.
func TestTend(t *testing.T) {
	w := newWorld(t, Definition{Durable: true, Retain: time.Hour})
	w.append("nobody waits")
	if _, set := w.timers["tend"]; set {
		t.Fatal("nobody waits, and it is set")
	}
	var b Binding
	w.must("bind", Binding{Kind: Service, To: "s", Mode: Each}, &b)
	w.pass(2 * time.Second)
	w.append("a")
	at := w.timers["tend"].at
	w.pass(500 * time.Millisecond)
	w.append("b", "c")
	if w.timers["tend"].at != at || !at.Equal(w.now.Add(500*time.Millisecond)) {
		t.Fatalf("it is set for %v, was for %v", w.timers["tend"].at, at)
	}
	if n := len(w.pass(time.Minute)); n < 7 || n > 10 {
		t.Fatalf("it fired %d times in a minute", n)
	}
	w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Limit: 1})
	w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Ack: []uint64{2}})
	w.pass(w.timers["tend"].at.Sub(w.now))
	if at := w.timers["tend"].at; at.After(w.now.Add(tendFirst)) {
		t.Fatalf("it went on, and the next is at %v of %v", at, w.now)
	}
	w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Limit: 9})
	w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Ack: []uint64{3}, Fail: []Failure{{Offset: 4, Why: "w", Final: true}}})
	w.pass(time.Minute)
	if _, set := w.timers["tend"]; set {
		t.Fatal("nothing waits, and it is set")
	}
	w.must("resend", Resend{Consumer: b.Consumer()}, nil)
	if fired := w.pass(time.Minute); len(fired) < 6 {
		t.Fatalf("sent again, and it fired %q", fired)
	}
}

// TestRetention: what is old goes without anybody appending, unless a binding waits; a reader misses it, and is told.
func TestRetention(t *testing.T) {
	w := newWorld(t, Definition{Durable: true, Retain: time.Minute, RetainBytes: 1 << 20})
	for i := range 600 {
		w.append(fmt.Sprint(i))
	}
	w.fetch(Fetch{Consumer: "reader", Worker: "w", Start: 1, Limit: 1})
	w.pass(3 * time.Minute)
	var v View
	w.must("view", nil, &v)
	if v.First != 601 || v.Bytes != 0 || len(w.timers) > 0 {
		t.Fatalf("%+v, %v", v, w.timers)
	}
	w.append("next")
	if _, got := w.fetch(Fetch{Consumer: "reader", Worker: "w", Limit: 9}); got != "601:next/1 " {
		t.Fatalf("got %s", got)
	}
	var list []Consumer
	w.must("consumers", nil, &list)
	if len(list) != 1 || list[0].Missed != 600 {
		t.Fatalf("%+v", list)
	}
	var b Binding
	w.must("bind", Binding{Kind: Service, To: "s", Mode: Each}, &b)
	big := strings.Repeat("x", 60_000)
	n := 0
	for ; ; n++ {
		if err := w.call("append", Append{[]Message{{Body: []byte(big)}}}, nil); err != nil {
			if shoal.KindOf(err) != shoal.Overloaded {
				t.Fatal(err)
			}
			break
		}
		w.kept.Commit()
		w.pass(time.Minute)
	}
	if n != 17 { // a MiB
		t.Fatalf("%d were taken", n)
	}
	p, _ := w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Limit: 99})
	var ack []uint64
	for _, m := range p.Messages {
		ack = append(ack, m.Offset)
	}
	if len(ack) < 14 || p.Due == 0 {
		t.Fatalf("got %d at once", len(ack))
	}
	w.fetch(Fetch{Consumer: b.Consumer(), Worker: "w", Ack: ack})
	w.append(big)
}
