package sandbox

import (
	"context"
	_ "embed"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

//go:embed testdata/agent.wasm
var agentModule []byte

// behave compiles a module and returns it as the code of agents.
func behave(t testing.TB, s *Sandbox, wasm []byte) shoal.Behaviour {
	t.Helper()
	ctx := context.Background()
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(ctx, c, wasm); err != nil {
		t.Fatal(err)
	}
	b, err := s.Behaviour(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openAgent(t testing.TB, b shoal.Behaviour) shoal.Instance {
	t.Helper()
	in, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.Close)
	return in
}

func turnOf(method, payload string) (*shoal.Turn, *agenttest.TurnState) {
	st := agenttest.NewTurn(nil)
	return &shoal.Turn{
		Agent: shoal.NameKey("agent", "a"), Method: method, Payload: []byte(payload), Now: time.Unix(1_700_000_000, 0),
		State: st, Out: st,
	}, st
}

func TestBehaviour(t *testing.T) {
	dir := t.TempDir()
	agenttest.TestBehaviour(t, func(t *testing.T) shoal.Behaviour {
		return behave(t, fresh(t, Config{CacheDir: dir}), agentModule)
	})
}

func TestAgentModuleIsToldApart(t *testing.T) {
	s := fresh(t, Config{})
	ctx := context.Background()
	_, err := s.Behaviour(ctx, shoal.BlockCID([]byte("unknown")))
	if shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("a module that was not compiled: %v", err)
	}
	for _, c := range []struct {
		wasm []byte
		why  string
	}{{probe, "it is a command"}, {reactor, "it has no methods"}} {
		cid := shoal.BlockCID(c.wasm)
		if _, err := s.Compile(ctx, cid, c.wasm); err != nil {
			t.Fatal(err)
		}
		_, err := s.Behaviour(ctx, cid)
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(fmt.Sprint(err), c.why) {
			t.Errorf("%v, want %q", err, c.why)
		}
	}
	behave(t, s, agentModule)
	_, err = s.Run(ctx, shoal.Run{Module: shoal.BlockCID(agentModule)})
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(fmt.Sprint(err), "it is the code of agents") {
		t.Errorf("an agent's module as a task: %v", err)
	}
	info, err := Inspect(agentModule)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Methods {
		if strings.HasPrefix(m, "_") || m == "migrate" || m == "adds" {
			t.Errorf("%s is no method", m)
		}
	}
	if in := openAgent(t, behave(t, s, agentModule)); true {
		turn, _ := turnOf("migrate", "")
		if reply, err := in.Turn(ctx, turn); err != nil || string(reply) != "migrated" {
			t.Errorf("migrate: %q, %v", reply, err)
		}
	}
}

// TestAgentEnds is what becomes of turns that do not return.
func TestAgentEnds(t *testing.T) {
	b := behave(t, fresh(t, Config{AgentMemory: 8 << 20}), agentModule)
	for _, c := range []struct {
		method string
		gas    uint64
		broken bool
		why    string
	}{
		{"trap", 0, true, "trap: unreachable"},
		{"exit0", 0, true, "it ended with exit code 0: leaving"},
		{"aborts", 0, true, "trap: unreachable: panic: nothing works"},
		{"spin", 5_000_000, true, "gas limit of 5000000 reached"},
		{"recurse", 0, true, "trap: "},
		{"greedy", 0, true, "memory limit of 8 MiB reached"},
		{"eat", 0, false, "no more memory"},
		{"seven", 0, false, "it returned 7"},
		{"fail", 0, false, "method 'fail'"},
	} {
		in := openAgent(t, b)
		turn, _ := turnOf(c.method, "")
		turn.Gas = c.gas
		_, err := in.Turn(context.Background(), turn)
		if shoal.KindOf(err) != shoal.Failed || !strings.Contains(fmt.Sprint(err), c.why) {
			t.Errorf("%s: %v, want %q", c.method, err, c.why)
		}
		if in.Broken() != c.broken {
			t.Errorf("%s: broken is %v", c.method, in.Broken())
		}
	}
}

// TestAgentsKeepNoStack is that an instance which once called itself deeply does not hold the stack of that.
func TestAgentsKeepNoStack(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	turn, _ := turnOf("deep", "100000")
	if _, err := in.Turn(context.Background(), turn); err != nil {
		t.Fatal(err)
	}
	if after := heap(); after > before+4<<20 {
		t.Errorf("the heap has grown by %s", shoal.Size(after-before))
	}
}

// TestWarmTurns allocate nothing.
func TestWarmTurnsAllocateNothing(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	turn, _ := turnOf("empty", "")
	least := 1.0
	for range 10 { // others allocate too
		least = min(least, testing.AllocsPerRun(1000, func() {
			if _, err := in.Turn(context.Background(), turn); err != nil {
				t.Error(err)
			}
		}))
	}
	if least > 0 {
		t.Errorf("%v allocations for a turn that does nothing", least)
	}
}

// TestAgentSleeps is that a turn which waits ends with its context too.
func TestAgentSleeps(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	turn, _ := turnOf("nap", "")
	if _, err := in.Turn(ctx, turn); shoal.KindOf(err) != shoal.Timeout || !in.Broken() {
		t.Errorf("%v, broken is %v", err, in.Broken())
	}
}

// TestAgentWorld is what WASI gives an agent: no files, no environment, and the turn's clock.
func TestAgentWorld(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	turn, _ := turnOf("files", "")
	if _, err := in.Turn(context.Background(), turn); err != nil {
		t.Error(err)
	}
	var last int64
	for _, now := range []int64{1_700_000_000, 1_700_003_600, 1_600_000_000} { // it may step back
		turn, _ := turnOf("clocks", "")
		turn.Now = time.Unix(now, 0)
		reply, err := in.Turn(context.Background(), turn)
		if err != nil {
			t.Fatal(err)
		}
		var wall, up int64
		if _, err := fmt.Sscan(string(reply), &wall, &up); err != nil || wall != now || up <= last {
			t.Errorf("the clocks at %d show %s, after %d", now, reply, last)
		}
		if now == 1_700_003_600 && up < last+int64(time.Hour) {
			t.Errorf("an hour later the monotonic clock went from %d to %d", last, up)
		}
		last = up
	}
}

// TestAgentLog is what is printed and logged.
func TestAgentLog(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	turn, st := turnOf("prints", "")
	if _, err := in.Turn(context.Background(), turn); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(st.Logged, "|"); got != "constructed|one|three|two" {
		t.Errorf("logged %q", got)
	}
	turn, st = turnOf("logflood", "")
	if _, err := in.Turn(context.Background(), turn); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, l := range st.Logged {
		total += len(l)
	}
	if total > 66<<10 || total < 60<<10 || !strings.Contains(st.Logged[len(st.Logged)-1], "the rest is dropped") {
		t.Errorf("logged %d bytes, at last %.100q", total, st.Logged[len(st.Logged)-1])
	}
	turn, st = turnOf("note", "on")
	if _, err := in.Turn(context.Background(), turn); err != nil || len(st.Logged) != 1 {
		t.Errorf("%v, logged %q", err, st.Logged)
	}
}

func TestAgentOutsideATurn(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	turn, st := turnOf("constructed", "")
	if _, err := in.Turn(context.Background(), turn); err == nil || !strings.Contains(err.Error(), "error 66") {
		t.Errorf("a host call in a constructor: %v", err)
	}
	if _, ok, _ := st.Get([]byte("early")); ok {
		t.Error("it was staged")
	}
}

// TestAgentGas is that a turn's gas is its own: warm turns cost the same each.
func TestAgentGas(t *testing.T) {
	in := openAgent(t, behave(t, fresh(t, Config{}), agentModule))
	var first string
	for i := range 5 {
		turn, _ := turnOf("gas", "")
		turn.Gas = 1_000_000
		reply, err := in.Turn(context.Background(), turn)
		if err != nil {
			t.Fatal(err)
		}
		var before, after int
		if _, err := fmt.Sscan(string(reply), &before, &after); err != nil || before > 1_000_000 || after >= before-10_000 {
			t.Fatalf("gas %q", reply)
		}
		if i == 1 {
			first = string(reply)
		} else if i > 1 && string(reply) != first {
			t.Errorf("turn %d had %s, and turn 1 %s", i, reply, first)
		}
	}
}

// TestAgentsCloseWithTheSandbox is that Close ends turns and frees instances that nobody closed.
func TestAgentsCloseWithTheSandbox(t *testing.T) {
	s := fresh(t, Config{})
	b := behave(t, s, agentModule)
	idle, busy := openAgent(t, b), openAgent(t, b)
	began := make(chan struct{})
	ended := make(chan error, 2)
	for _, m := range []string{"spin", "ask"} {
		in := busy
		if m == "ask" {
			in = openAgent(t, b)
		}
		turn, st := turnOf(m, "you add 1")
		st.Calls = func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		go func() {
			_, err := in.Turn(context.Background(), turn)
			ended <- err
		}()
	}
	<-began
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("a turn that Close ended: %v", err)
		}
	}
	if !idle.Broken() {
		t.Error("an instance is left open")
	}
	if _, err := b.Open(context.Background()); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("Open after Close: %v", err)
	}
}
