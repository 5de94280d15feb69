package members

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// refuses has c join with an invite that must not do, and checks the error's kind and text.
func refuses(t *testing.T, c *machine, invite string, kind shoal.Kind, says string) {
	t.Helper()
	err := c.m.Join(t.Context(), invite)
	if shoal.KindOf(err) != kind || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%v), want %v with %q", err, shoal.KindOf(err), kind, says)
	}
	if c.m.Fabric() != "" {
		t.Error("it is a member all the same")
	}
}

func TestInvitesThatDoNotServe(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.found(1)[0]
		c := w.machine(5).boot()
		refuses(t, c, "hello", shoal.Invalid, "invite")
		good := w.invite(a, InviteOptions{})
		refuses(t, c, good[:len(good)-9], shoal.Invalid, "cut off")

		late := w.invite(a, InviteOptions{TTL: 2 * time.Second})
		time.Sleep(5 * time.Second)
		refuses(t, c, late, shoal.Refused, "expired")

		once := w.invite(a, InviteOptions{Uses: 1})
		b := w.machine(6).boot()
		w.must(b.m.Join(t.Context(), once))
		b.run()
		refuses(t, c, once, shoal.Refused, "used up")
		// The count is durable.
		a.halt()
		a.boot().run()
		refuses(t, c, once, shoal.Refused, "used up")

		// Nobody there: each address that was tried is named.
		a.halt()
		b.halt()
		err := c.m.Join(t.Context(), good)
		if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), a.addrs[0]) {
			t.Errorf("got %v, want an unavailable error that names %s", err, a.addrs[0])
		}
	})
}

func TestJoinWithAClockAnHourOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.found(1)[0]
		for n, off := range []time.Duration{-time.Hour, time.Hour} {
			c := w.machine(7+n, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(off) } }).boot()
			refuses(t, c, w.invite(a, InviteOptions{}), shoal.Refused, "clock")
			joined := make(chan error, 1)
			go func() { joined <- c.m.JoinLAN(t.Context(), func(string) {}) }()
			time.Sleep(time.Second)
			w.multicast()
			err := <-joined
			var e *shoal.Error
			if !errors.As(err, &e) || e.Kind != shoal.Refused || e.What != "clock" || e.Try == "" {
				t.Errorf("over the LAN, %v off: %v", off, err)
			}
		}
	})
}

func TestJoinLAN(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.found(1)[0]
		c := w.machine(8).boot()
		codes, joined := make(chan string, 8), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { joined <- c.m.JoinLAN(ctx, func(code string) { codes <- code }) }()
		code := <-codes
		w.multicast()
		w.within(20*time.Second, "the member hears the machine", func() bool { return len(a.m.Pending()) == 1 })
		if _, err := a.m.Approve(t.Context(), "0000-0000-0000"); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("a wrong code: %v", err)
		}
		if c.m.Fabric() != "" {
			t.Fatal("admitted with a wrong code")
		}
		p, err := a.m.Approve(t.Context(), code)
		if err != nil || p != c.id {
			t.Fatalf("approve: %s, %v", p, err)
		}
		w.must(<-joined)
		if c.m.Fabric() != a.m.Fabric() {
			t.Error("it joined another fabric")
		}
	})
}

// Whoever founds a fabric next to another learns of it.
func TestNeighbours(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.found(1)[0]
		b, c := w.machine(8).boot(), w.machine(9).boot()
		w.must(b.m.Found())
		b.run()
		w.multicast()
		want := map[shoal.PeerID]string{a.id: a.m.Fabric(), c.id: ""}
		got := map[shoal.PeerID]string{}
		for _, n := range b.m.Neighbours(t.Context(), nil) {
			got[n.Peer] = n.Fabric
		}
		if !maps.Equal(got, want) || want[a.id] == b.m.Fabric() {
			t.Errorf("neighbours %v, want %v", got, want)
		}
		if list := b.m.Neighbours(t.Context(), map[shoal.PeerID]bool{a.id: true, c.id: true}); len(list) != 0 {
			t.Errorf("asked again: %v", list)
		}
	})
}

// FuzzHandlers sends garbage to every door and method of a member: each answers with an error or a
// reply, and the member goes on.
func FuzzHandlers(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add([]byte{0xa1, 0x61, 0x74, 0x00}, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, which byte) {
		inWorld(t, func(t *testing.T, w *world) {
			list := w.found(2)
			w.within(10*time.Second, "all alive", all(list, shoal.Alive))
			a, from := list[0], list[1].id
			doors := []string{"hello", "join", "lan", "fabric"}
			_, _ = a.door[doors[int(which)%len(doors)]](t.Context(), from, b)
			for _, h := range a.methods {
				_, _ = h(t.Context(), from, b)
			}
			time.Sleep(3 * time.Second)
			if err := a.m.Standing(); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestLateAnswer has a node be asked for its credential before it has one. Its answer comes after it joined, and does not
// count any more.
func TestLateAnswer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.found(1)[0]
		b := w.machine(1).boot()
		answer := b.door["hello"]
		b.door["hello"] = func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
			r, err := answer(ctx, from, req)
			time.Sleep(4 * time.Second)
			return r, err
		}
		w.must(a.Connect(t.Context(), b.id, b.addrs))
		asked := make(chan error)
		go func() { asked <- a.m.Admit(t.Context(), b.id) }()
		time.Sleep(time.Second)
		w.must(b.m.Join(t.Context(), w.invite(a, InviteOptions{})))
		w.must(b.m.Admit(t.Context(), a.id))
		w.must(<-asked)
		w.must(a.m.Admit(t.Context(), b.id))
	})
}
