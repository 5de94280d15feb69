package examples

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

func behave(t testing.TB, s *sandbox.Sandbox, name string) shoal.Behaviour {
	t.Helper()
	wasm, ok := Module(name)
	if !ok {
		t.Fatalf("there is no example %s", name)
	}
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(context.Background(), c, wasm); err != nil {
		t.Fatal(err)
	}
	b, err := s.Behaviour(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// story is calls of agents that are all of one module, and what comes of them. A step is
//
//	AGENT METHOD PAYLOAD -> REPLY     a call; "!TEXT" for an error that has TEXT; "~" for any reply
//	AGENT? METHOD PAYLOAD -> REPLY    a call that only reads
//	settle, wait DURATION, down AGENT, up AGENT
//
// In payloads and replies "|" is the end of a line.
type story struct {
	module string
	agents string
	steps  string
}

// TestStories runs each story with instances that stay, and with one for each turn: what is replied, kept and
// logged is the same.
func TestStories(t *testing.T) {
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, st := range stories() {
		t.Run(st.module, func(t *testing.T) {
			b := behave(t, s, st.module)
			warm, fresh := st.run(t, b, false), st.run(t, b, true)
			if warm != fresh {
				t.Errorf("with an instance for each turn another thing comes of it: %s\nand with one for all\n%s", fresh, warm)
			}
			if t.Failed() {
				t.Log(warm)
			}
		})
	}
}

// TestEachAgentHasAStory: so each also runs with its instance destroyed after every turn.
func TestEachAgentHasAStory(t *testing.T) {
	told := map[string]bool{}
	for _, st := range stories() {
		told[st.module] = true
	}
	agents := 0
	for _, e := range All() {
		info, err := sandbox.Inspect(e.Module)
		if err != nil {
			t.Fatal(err)
		}
		if len(info.Methods) == 0 {
			continue
		}
		if agents++; !told[e.Name] {
			t.Errorf("agent %s has no story", e.Name)
		}
	}
	if agents == 0 {
		t.Error("no example is an agent")
	}
}

func (st story) run(t *testing.T, b shoal.Behaviour, fresh bool) string {
	ctx := context.Background()
	f := agenttest.NewFabric()
	defer f.Close()
	f.Fresh = fresh
	f.Data = agenttest.Data{"set/a": "one\ntwo\n", "set/sub/b": "three\n", "alone": "x\ny\nz"}
	for _, name := range strings.Fields(st.agents) {
		f.Add(name, b)
	}
	var transcript strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(st.steps), "\n") {
		line = strings.TrimSpace(line)
		call, want, asked := strings.Cut(line, "->")
		words := append(strings.SplitN(strings.TrimSpace(call), " ", 3), "", "")
		switch {
		case asked:
			to, read := strings.CutSuffix(words[0], "?")
			payload := strings.ReplaceAll(words[2], "|", "\n")
			reply, err := f.Call(ctx, to, shoal.CallRequest{Method: words[1], Payload: []byte(payload), Read: read})
			got := strings.ReplaceAll(string(reply), "\n", "|")
			if err != nil {
				got = "!" + err.Error()
			}
			fmt.Fprintf(&transcript, "%s -> %s\n", call, got)
			want = strings.TrimSpace(want)
			fits := got == want
			if text, ok := strings.CutPrefix(want, "!"); ok {
				fits = err != nil && strings.Contains(got, text)
			} else if want == "~" {
				fits = err == nil
			}
			if !fits {
				t.Errorf("%s\ngot %s", line, got)
			}
		case words[0] == "settle":
			f.Settle(ctx)
		case words[0] == "wait":
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			f.Advance(ctx, d)
		case words[0] == "down" || words[0] == "up":
			f.Down(words[1], words[0] == "down")
		default:
			t.Fatalf("no step: %q", line)
		}
	}
	return transcript.String() + f.Dump()
}

// TestAgentsNatively runs the unit tests of the agents in Go, and of the SDK, which are modules of their own.
func TestAgentsNatively(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("go is not installed: the agents' unit tests cannot be built")
	}
	for _, dir := range []string{"agents", "../sdk/go"} {
		cmd := exec.Command("go", "test", "./...")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOOS=", "GOARCH=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
}
