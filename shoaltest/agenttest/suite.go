package agenttest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestBehaviour holds a shoal.Behaviour against the contract. open gives the behaviour under test, with these
// methods; arguments are separated by blanks, and a host call that fails makes the method fail with
// "error N", N the kind's number. Probe is one such, and sandbox/testdata/agent.c another.
//
//	empty                   replies nothing
//	echo TEXT               replies TEXT
//	big N                   replies N bytes, each 'x'
//	fail TEXT               fails with TEXT, after it staged all it could
//	put KEY VALUE, del KEY  stages it; after that put replies what get gives
//	putlong K V             puts a value of V bytes under a key of K bytes
//	get KEY                 replies the value; fails with "absent"
//	scan PREFIX AFTER N     replies "KEY=VALUE;" for each of N pairs at most, page after page; "-" is empty
//	who                     replies the lines agent, caller, request, trace, method, epoch, reading, now
//	dice                    replies 16 random bytes
//	ask TO METHOD TEXT      calls an agent and replies its reply, or "error N"
//	tell TO METHOD TEXT     sends a message
//	alarm NAME NS METHOD TEXT sets a timer
//	note TEXT               logs TEXT
//	read CID PATH OFFSET N  replies what so large a buffer was given of a file; "-" is empty; or "error N"
//	folder CID PATH AFTER   replies "NAME=BYTES;" for each entry of a folder, or "NAME/;"; or "error N"
//	share OP NAME FIELD KIND REST  mergeable state: add BY, set TEXT, insert, remove and has ELEMENT, clear, get (replies "KIND VALUE"),
//	                        items and fields N (N at once; replies "ITEM;", "FIELD:KIND=VALUE;"); "-" is no field; or "error N"
//	count                   replies how often this instance was asked that
//	trap                    stages something and traps
//	spin                    never ends
func TestBehaviour(t *testing.T, open func(t *testing.T) shoal.Behaviour) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, g *behaviourRig)
	}{
		{"methods", behaviourMethods},
		{"payload and reply", behaviourReply},
		{"state", behaviourState},
		{"limits of the state", behaviourLimits},
		{"scan", behaviourScan},
		{"what a turn knows", behaviourWho},
		{"effects", behaviourEffects},
		{"a call", behaviourCall},
		{"data", behaviourData},
		{"mergeable state", behaviourShared},
		{"reading", behaviourReading},
		{"a failure counts nothing and keeps the instance", behaviourFail},
		{"a trap breaks the instance", behaviourTrap},
		{"the end of the context", behaviourContext},
		{"memory is a cache", behaviourMemory},
		{"many instances", behaviourMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			g := &behaviourRig{b: open(t), ctx: ctx, kept: map[string][]byte{}}
			g.open(t)
			c.run(t, g)
			g.Instance.Close()
			g.Instance.Close()
			if !g.Broken() {
				t.Error("a closed instance is not broken")
			}
			if _, err := g.Turn(ctx, g.turn("empty", "")); err == nil {
				t.Error("a closed instance ran a turn")
			}
		})
	}
}

func behaviourMethods(t *testing.T, g *behaviourRig) {
	have := g.b.Methods()
	for _, m := range Probe().Methods() {
		if !slices.Contains(have, m) {
			t.Errorf("there is no %s among %v", m, have)
		}
	}
	if !slices.IsSorted(have) {
		t.Errorf("not sorted: %v", have)
	}
	have[0] = "changed"
	if g.b.Methods()[0] == "changed" {
		t.Error("the list of methods is the behaviour's own")
	}
	for _, m := range []string{"", "nothing", "Echo", "_start", "_initialize", "memory", "shoal:start", "echo\x00", strings.Repeat("x", 1<<20)} {
		_, err := g.do(m, "")
		wantKind(t, err, shoal.NotFound)
		if m == "nothing" && !strings.Contains(err.Error(), "echo") {
			t.Errorf("the error does not say which methods there are: %v", err)
		}
		if len(err.Error()) > 4000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
	if g.Broken() {
		t.Error("a method that there is not breaks the instance")
	}
	g.wants(t, "echo", "on", "on")
}

func behaviourReply(t *testing.T, g *behaviourRig) {
	g.wants(t, "empty", "", "")
	g.wants(t, "empty", "something", "")
	g.wants(t, "echo", "", "")
	g.wants(t, "echo", "a\x00\xffb", "a\x00\xffb")
	long := strings.Repeat("x", MaxMessage)
	g.wants(t, "echo", long, long)
	g.wants(t, "big", fmt.Sprint(MaxMessage), long)
	first, err := g.Turn(g.ctx, g.turn("echo", "first"))
	mustDo(t, err)
	g.wants(t, "echo", "other", "other")
	if string(first) != "first" {
		t.Error("a reply changed with the next turn")
	}
	g.fails(t, "big", fmt.Sprint(MaxMessage+1), "")
	if !g.Broken() {
		t.Error("a reply over the limit leaves the instance")
	}
	g.open(t)
}

func behaviourState(t *testing.T, g *behaviourRig) {
	g.fails(t, "get", "a", "absent")
	g.wants(t, "put", "a 1", "1")
	g.wants(t, "put", "a 22", "22")
	g.wants(t, "put", "b \x00\xff", "\x00\xff")
	g.wants(t, "get", "a", "22")
	g.wants(t, "get", "b", "\x00\xff")
	g.wants(t, "del", "a", "")
	g.wants(t, "del", "a", "")
	g.fails(t, "get", "a", "absent")
	if len(g.kept) != 1 {
		t.Errorf("kept %v", g.kept)
	}
}

func behaviourLimits(t *testing.T, g *behaviourRig) {
	invalid := fmt.Sprint("error ", int(shoal.Invalid))
	g.wants(t, "putlong", fmt.Sprint(MaxKey, " ", MaxValue), "")
	if len(g.kept) != 1 {
		t.Fatalf("kept %d", len(g.kept))
	}
	for k, v := range g.kept {
		if len(k) != MaxKey || len(v) != MaxValue {
			t.Errorf("a key of %d and a value of %d bytes", len(k), len(v))
		}
	}
	g.fails(t, "putlong", fmt.Sprint(MaxKey+1, " 1"), invalid)
	g.fails(t, "putlong", fmt.Sprint("1 ", MaxValue+1), invalid)
	turn := g.turn("putlong", "1 100")
	g.state.Limit = MaxValue
	_, err := g.Turn(g.ctx, turn)
	if shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), fmt.Sprint("error ", int(shoal.Full))) {
		t.Errorf("over what the agent may keep: %v", err)
	}
	g.wants(t, "get", strings.Repeat("k", MaxKey), strings.Repeat("v", MaxValue))
}

func behaviourScan(t *testing.T, g *behaviourRig) {
	for i := range 300 {
		g.kept[fmt.Sprintf("k/%03d", i)] = bytes.Repeat([]byte{'v'}, i*40)
	}
	g.kept["a"], g.kept["k"], g.kept["k0"], g.kept["z"] = []byte("1"), []byte("2"), []byte("3"), nil
	g.kept["m/a"] = bytes.Repeat([]byte{'1'}, MaxValue-200)
	for c := 'b'; c <= 'u'; c++ { // what fits into a reply, and not with its lengths into a page
		g.kept["m/"+string(c)] = nil
	}
	list := func(prefix, after string, limit int) string {
		var out strings.Builder
		pairs, _ := NewTurn(g.kept).Scan([]byte(prefix), []byte(after), limit)
		if after == "" {
			pairs, _ = NewTurn(g.kept).Scan([]byte(prefix), nil, limit)
		}
		for _, p := range pairs {
			fmt.Fprintf(&out, "%s=%s;", p.Key, p.Value)
		}
		return out.String()
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
	}{
		{"none", "", 10},
		{"a", "", 10},
		{"k/", "", 3},
		{"k/", "k/000", 3},
		{"k/", "k/29", 20},
		{"k/", "k/299", 20},
		{"k", "k/29", 1},
		{"k", "k/298", 10},
		{"", "k/298", 2},
		{"m", "", 1000},
		{"k/0", "", 1000},
		{"z", "", 10},
	} {
		want := list(c.prefix, c.after, c.limit)
		none := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		g.wants(t, "scan", fmt.Sprint(none(c.prefix), " ", none(c.after), " ", c.limit), want)
	}
}

func behaviourWho(t *testing.T, g *behaviourRig) {
	want := "caller\nrequest\ntrace\nwho\n7\n0\n1700000000000000005"
	got, err := g.do("who", "")
	mustDo(t, err)
	agent, got, _ := strings.Cut(got, "\n")
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(agent) < 20 || strings.ContainsAny(agent, " \n") {
		t.Errorf("the agent's own key is %q", agent)
	}
	first, err := g.do("dice", "")
	mustDo(t, err)
	g.wants(t, "dice", "", first) // the same seed
	turn := g.turn("dice", "")
	turn.Seed = []byte("another")
	second, err := g.Turn(g.ctx, turn)
	mustDo(t, err)
	if len(first) != 16 || string(second) == first {
		t.Errorf("dice: %x, then %x", first, second)
	}
}

func behaviourEffects(t *testing.T, g *behaviourRig) {
	g.wants(t, "tell", "you add 1 2", "")
	g.wants(t, "note", "a line", "")
	if len(g.state.Logged) != 1 || g.state.Logged[0] != "a line" {
		t.Errorf("logged %q", g.state.Logged)
	}
	turn := g.turn("tell", "you add 1 2")
	_, err := g.Turn(g.ctx, turn)
	mustDo(t, err)
	if s := g.state.Sent; len(s) != 1 || s[0].To != "you" || s[0].Method != "add" || string(s[0].Payload) != "1 2" {
		t.Errorf("sent %+v", s)
	}
	g.wants(t, "alarm", "tick 1500000000 ring x", "")
	want := Timer{"tick", 1500 * time.Millisecond, "ring", []byte("x")}
	if s := g.state.Timers; len(s) != 1 || fmt.Sprint(s[0]) != fmt.Sprint(want) {
		t.Errorf("timers %+v", s)
	}
	g.wants(t, "alarm", "tick -1 ring x", "")
	if s := g.state.Timers; len(s) != 1 || s[0].Delay >= 0 {
		t.Errorf("timers %+v", s)
	}
}

func behaviourCall(t *testing.T, g *behaviourRig) {
	g.calls = func(_ context.Context, to, method string, payload []byte) ([]byte, error) {
		switch to {
		case "big":
			return bytes.Repeat([]byte{'b'}, MaxMessage), nil
		case "busy":
			return nil, shoal.E(shoal.Refused, "call", "it waits", "")
		case "gone":
			return nil, shoal.E(shoal.Unavailable, "call", "it is gone", "")
		}
		return []byte(to + "." + method + "(" + string(payload) + ")"), nil
	}
	g.wants(t, "ask", "you add 1", "you.add(1)")
	g.wants(t, "ask", "you add 22", "you.add(22)")
	g.wants(t, "ask", "big add 1", strings.Repeat("b", MaxMessage))
	g.wants(t, "ask", "busy add 1", fmt.Sprint("error ", int(shoal.Refused)))
	g.wants(t, "ask", "gone add 1", fmt.Sprint("error ", int(shoal.Unavailable)))
	g.calls = nil
	g.wants(t, "ask", "you add 1", fmt.Sprint("error ", int(shoal.NotFound)))
}

func behaviourData(t *testing.T, g *behaviourRig) {
	number := func(k shoal.Kind) string { return fmt.Sprint("error ", int(k)) }
	g.wants(t, "read", "set a 0 10", number(shoal.Refused))
	long := strings.Repeat("0123456789", MaxMessage/10+2)
	g.data = Data{"set/a": "hello", "set/sub/b": "", "set/z": long, "one": "alone", "set/" + strings.Repeat("n", 255): ""}
	for _, read := range []bool{false, true} {
		g.read = read
		g.wants(t, "read", "set a 0 10", "hello")
		g.wants(t, "read", "set a 1 3", "ell")
		g.wants(t, "read", "set a 5 3", "")
		g.wants(t, "read", "set a 6 3", number(shoal.Invalid))
		g.wants(t, "read", "set a -1 3", number(shoal.Invalid))
		g.wants(t, "read", "set sub 0 3", number(shoal.Invalid))
		g.wants(t, "read", "set ../a 0 3", number(shoal.Invalid))
		g.wants(t, "read", "set b 0 3", number(shoal.NotFound))
		g.wants(t, "read", "other a 0 3", number(shoal.NotFound))
		g.wants(t, "read", "one - 2 9", "one")
		g.wants(t, "read", fmt.Sprint("set z 7 ", MaxMessage), long[7:7+MaxMessage])
		g.wants(t, "read", fmt.Sprint("set z 7 ", MaxMessage+1), number(shoal.Invalid))
		g.wants(t, "folder", "set - -", "a=5;"+strings.Repeat("n", 255)+"=0;sub/;"+fmt.Sprintf("z=%d;", len(long)))
		g.wants(t, "folder", "set - o", "sub/;"+fmt.Sprintf("z=%d;", len(long)))
		g.wants(t, "folder", "set sub -", "b=0;")
		g.wants(t, "folder", "set z -", fmt.Sprintf("=%d;", len(long)))
		g.wants(t, "folder", "set - z", "")
		g.wants(t, "folder", "set y -", number(shoal.NotFound))
	}
	g.read = false
	ctx, cancel := context.WithCancel(g.ctx)
	g.data = waiting{cancel}
	_, err := g.Turn(ctx, g.turn("read", "set a 0 10"))
	wantKind(t, err, shoal.Canceled)
	g.open(t)
}

// waiting is data that nobody has in time.
type waiting struct{ cancel func() }

func (w waiting) Read(ctx context.Context, _, _ string, _ int64, _ []byte) (int, error) {
	w.cancel()
	<-ctx.Done()
	return 0, ctx.Err()
}

func (w waiting) Files(context.Context, string, string, string, int) ([]shoal.File, error) {
	return nil, nil
}

func behaviourReading(t *testing.T, g *behaviourRig) {
	g.wants(t, "put", "a 1", "1")
	g.read = true
	g.wants(t, "get", "a", "1")
	g.wants(t, "scan", "- - 5", "a=1;")
	refused := fmt.Sprint("error ", int(shoal.Refused))
	g.fails(t, "put", "a 2", refused)
	g.fails(t, "del", "a", refused)
	g.fails(t, "tell", "you add 1", refused)
	g.fails(t, "alarm", "tick 1 ring x", refused)
	if got, err := g.do("who", ""); err != nil || strings.Split(got, "\n")[6] != "1" {
		t.Errorf("%q, %v", got, err)
	}
}

func behaviourFail(t *testing.T, g *behaviourRig) {
	g.wants(t, "count", "", "1")
	g.fails(t, "fail", "the reason", "the reason")
	g.fails(t, "fail", "", "")
	if len(g.kept) != 0 {
		t.Errorf("a failed turn left %v", g.kept)
	}
	g.fails(t, "get", "a", "absent")
	if g.Broken() {
		t.Fatal("a failure broke the instance")
	}
	g.wants(t, "count", "", "2")
}

func behaviourTrap(t *testing.T, g *behaviourRig) {
	g.wants(t, "put", "a 1", "1")
	was := maps.Clone(g.kept)
	g.fails(t, "trap", "", "trap")
	if !maps.EqualFunc(was, g.kept, bytes.Equal) {
		t.Errorf("a trap left %v", g.kept)
	}
	if !g.Broken() {
		t.Fatal("the instance is not broken")
	}
	g.open(t)
	g.wants(t, "get", "a", "1")
}

func behaviourContext(t *testing.T, g *behaviourRig) {
	ctx, cancel := context.WithCancel(g.ctx)
	cancel()
	_, err := g.Turn(ctx, g.turn("empty", ""))
	wantKind(t, err, shoal.Canceled)
	if g.Broken() {
		g.open(t)
	}
	ctx, cancel = context.WithTimeout(g.ctx, 20*time.Millisecond)
	defer cancel()
	_, err = g.Turn(ctx, g.turn("spin", ""))
	wantKind(t, err, shoal.Timeout)
	if !g.Broken() {
		t.Fatal("the instance is not broken")
	}
	g.open(t)
	ctx, cancel = context.WithCancel(g.ctx)
	g.calls = func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err = g.Turn(ctx, g.turn("ask", "you add 1"))
	wantKind(t, err, shoal.Canceled)
	g.open(t)
	g.wants(t, "echo", "on", "on")
}

func behaviourMemory(t *testing.T, g *behaviourRig) {
	g.wants(t, "count", "", "1")
	g.wants(t, "count", "", "2")
	first := g.Instance
	g.open(t)
	g.wants(t, "count", "", "1")
	g.Instance.Close()
	g.Instance = first
	g.wants(t, "count", "", "3")
}

func behaviourMany(t *testing.T, g *behaviourRig) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			own := &behaviourRig{b: g.b, ctx: g.ctx, kept: map[string][]byte{}}
			for round := range 3 {
				in, err := g.b.Open(g.ctx)
				if err != nil {
					t.Error(err)
					return
				}
				own.Instance = in
				for n := range 20 {
					want := fmt.Sprint(i, "-", round, "-", n)
					if got, err := own.do("put", "key "+want); err != nil || got != want {
						t.Errorf("%q, %v, want %q", got, err, want)
					}
				}
				in.Close()
			}
		})
	}
	all.Wait()
}
