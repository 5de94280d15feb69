package members

import (
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestLeave(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(4)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		away := list[3] // misses the goodbye
		away.halt()
		gone, rest := list[1], []*machine{list[0], list[2]}
		invite := w.invite(list[0], InviteOptions{})
		chain := gone.m.Chain()
		w.must(gone.m.Leave(t.Context()))
		if gone.m.Fabric() != "" || shoal.KindOf(gone.m.Standing()) != shoal.Refused {
			t.Fatal("it still has the fabric")
		}
		w.within(5*time.Second, "left", sees(rest, gone, shoal.Left))
		if len(list[0].m.Table()) != 2 {
			t.Errorf("the table has %s", w.states(list[0]))
		}
		away.boot().run()
		w.within(20*time.Second, "the one who was away hears of it", sees([]*machine{away}, gone, shoal.Left))
		time.Sleep(time.Minute)
		if !sees(rest, gone, shoal.Left)() || !sees([]*machine{away}, gone, shoal.Left)() {
			t.Fatal("an old record came back")
		}
		// With its old credential it is refused by everybody.
		w.must(gone.m.become(state{Fabric: list[0].m.Fabric(), Chain: chain}, gone.m.life))
		for _, c := range rest {
			if err := c.m.Admit(t.Context(), gone.id); shoal.KindOf(err) != shoal.Refused {
				t.Errorf("admitted with an old credential: %v", err)
			}
		}
		time.Sleep(5 * time.Second)
		if err := gone.m.Standing(); err == nil {
			t.Error("it does not learn that its membership is over")
		}
		w.must(gone.m.Join(t.Context(), invite))
		w.within(20*time.Second, "joined anew", all(list, shoal.Alive))
	})
}

func TestLeaveAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(2)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		w.split(list[:1], list[1:], true)
		if err := list[0].m.Leave(t.Context()); shoal.KindOf(err) != shoal.Unavailable || list[0].m.Standing() != nil {
			t.Fatalf("left unheard: %v", err)
		}
		w.within(80*time.Second, "down", sees(list[:1], list[1], shoal.Down))
		w.must(list[0].m.Leave(t.Context())) // there is nobody left to tell
	})
}

func TestForget(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(4)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		dead := list[1]
		for _, c := range []struct {
			p    shoal.PeerID
			kind shoal.Kind
		}{{"nobody", shoal.Invalid}, {list[0].id, shoal.Invalid}, {w.machine(50).id, shoal.NotFound}} {
			if err := list[0].m.Forget(t.Context(), c.p); shoal.KindOf(err) != c.kind {
				t.Errorf("forget %s: %v, want %v", c.p, err, c.kind)
			}
		}
		limited := w.invite(dead, InviteOptions{})
		dead.halt()
		w.must(list[0].m.Forget(t.Context(), dead.id))
		w.must(list[0].m.Forget(t.Context(), dead.id))
		rest := []*machine{list[0], list[2], list[3]}
		w.within(5*time.Second, "forgotten", sees(rest, dead, shoal.Forgotten))
		list[0].halt() // also who forgot it may be gone
		list[2].halt()
		list[2].boot().run()
		rest = rest[1:]
		// It returns, not knowing.
		dead.boot().run()
		took := w.within(15*time.Second, "it learns that it was forgotten", func() bool { return dead.m.Standing() != nil })
		t.Logf("it knows after %v: %v", took, dead.m.Standing())
		time.Sleep(time.Minute)
		if !sees(rest, dead, shoal.Forgotten)() {
			t.Fatal("it came back")
		}
		dead.halt()
		dead.boot()
		if dead.m.Standing() == nil {
			t.Fatal("it does not remember that it was forgotten")
		}
		// Its invites died with it, and it may join anew.
		e := w.machine(7).boot()
		list[0].boot().run()
		dead.addrs = []string{"/ip4/9.9.9.9/tcp/1"}
		if err := e.m.Join(t.Context(), limited); err == nil || !strings.Contains(err.Error(), "forgotten") {
			t.Errorf("an invite of a forgotten member: %v", err)
		}
		w.must(dead.m.Join(t.Context(), w.invite(list[2], InviteOptions{})))
		dead.run()
		w.within(20*time.Second, "joined anew", all(append(rest, dead), shoal.Alive))
	})
}

// TestForgetTheLiving: a member that is up is cut off at once.
func TestForgetTheLiving(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(3)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		w.must(list[0].m.Forget(t.Context(), list[2].id))
		w.within(5*time.Second, "forgotten and told so", func() bool {
			return sees(list[:2], list[2], shoal.Forgotten)() && list[2].m.Standing() != nil
		})
		if err := list[1].m.Admit(t.Context(), list[2].id); shoal.KindOf(err) != shoal.Refused || list[1].m.Known(list[2].id) {
			t.Errorf("admitted: %v", err)
		}
		time.Sleep(10 * time.Second)
		for method := range list[1].methods {
			if _, err := list[1].methods[method](t.Context(), list[2].id, nil); shoal.KindOf(err) != shoal.Refused {
				t.Errorf("%s answers it: %v", method, err)
			}
		}
	})
}
