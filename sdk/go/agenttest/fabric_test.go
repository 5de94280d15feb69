package agenttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func tally() Methods {
	return Methods{
		"add": func(t *agent.Turn) ([]byte, error) {
			n := t.Int("n") + int64(len(t.Payload()))
			t.PutInt("n", n)
			t.Log("added")
			return fmt.Append(nil, n), nil
		},
		"fail": func(t *agent.Turn) ([]byte, error) {
			t.PutInt("n", -1)
			t.Send("b", "add", []byte("x"))
			t.Timer("t", time.Second, "add", nil)
			t.Log("lost")
			return nil, errors.New("no")
		},
		"later": func(t *agent.Turn) ([]byte, error) {
			t.Timer("t", 2*time.Second, "add", []byte("xx"))
			t.Timer("u", time.Second, "tell", nil)
			return nil, nil
		},
		"stop": func(t *agent.Turn) ([]byte, error) { t.StopTimer("t"); return nil, nil },
		"tell": func(t *agent.Turn) ([]byte, error) { t.Send("b", "add", []byte("xxx")); return nil, nil },
		"ask":  func(t *agent.Turn) ([]byte, error) { return t.Call("b", "back", []byte("xxx")) },
		"back": func(t *agent.Turn) ([]byte, error) { return t.Call("a", "add", t.Payload()) },
		"long": func(t *agent.Turn) ([]byte, error) { t.Put("k", make([]byte, 1<<20+1)); return nil, nil },
		"none": func(t *agent.Turn) ([]byte, error) { t.Put("", nil); return nil, nil },
		"dump": func(t *agent.Turn) ([]byte, error) {
			var out []string
			for k, v := range t.All("") {
				out = append(out, k+"="+string(v))
			}
			return []byte(strings.Join(out, " ")), nil
		},
	}
}

func want(t *testing.T, reply []byte, err error, text string) {
	t.Helper()
	if err != nil || string(reply) != text {
		t.Fatalf("%q, %v, want %q", reply, err, text)
	}
}

func TestFabric(t *testing.T) {
	f := New()
	f.Add("a", tally())
	f.Add("b", tally())
	call := func(to, method, payload string) ([]byte, error) { return f.Call(to, method, []byte(payload)) }

	reply, err := call("a", "add", "xx")
	want(t, reply, err, "2")
	if _, err := call("a", "fail", ""); agent.KindOf(err) != agent.Failed || err.Error() != "no" {
		t.Errorf("%v", err)
	}
	f.Advance(time.Minute)
	if s := f.State("a"); string(s["n"]) != "2" || len(f.State("b")) != 0 || len(f.Logged("a")) != 1 {
		t.Errorf("a failed turn left %q, %q, %q", s, f.State("b"), f.Logged("a"))
	}
	for method, kind := range map[string]agent.Kind{"nothing": agent.NotFound, "long": agent.Failed, "none": agent.Failed} {
		if _, err := call("a", method, ""); agent.KindOf(err) != kind {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, err := f.Read("a", "add", nil); agent.KindOf(err) != agent.Failed {
		t.Errorf("a put of a turn that reads: %v", err)
	}

	_, err = call("a", "later", "")
	want(t, nil, err, "")
	f.Advance(1500 * time.Millisecond)
	if got := string(f.State("b")["n"]); got != "3" {
		t.Errorf("a timer's message: b has %q", got)
	}
	f.Advance(600 * time.Millisecond)
	reply, err = call("a", "dump", "")
	want(t, reply, err, "n=4")

	if _, err := call("a", "ask", ""); agent.KindOf(err) != agent.Failed || !strings.Contains(err.Error(), "waits in the same chain") {
		t.Errorf("a cycle: %v", err)
	}
	f.Down("b", true)
	if _, err := call("b", "add", ""); agent.KindOf(err) != agent.Unavailable {
		t.Errorf("down: %v", err)
	}
	_, err = call("a", "tell", "")
	want(t, nil, err, "")
	f.Settle()
	f.Down("b", false)
	f.Settle()
	if got := string(f.State("b")["n"]); got != "6" {
		t.Errorf("a message that waited: b has %q", got)
	}
	_, err = call("a", "later", "")
	want(t, nil, err, "")
	_, err = call("a", "stop", "")
	want(t, nil, err, "")
	if got := fmt.Sprint(f.Timers("a")); got != "[u]" {
		t.Errorf("timers %v", got)
	}
}

func TestShared(t *testing.T) {
	f := New()
	f.Add("a", Methods{
		"count": func(t *agent.Turn) ([]byte, error) {
			for _, w := range strings.Fields(string(t.Payload())) {
				t.Shared("words").Field(w).Add(1)
			}
			t.Shared("seen").As(agent.GrowSet).Insert(t.Request())
			t.Shared("last").Set(t.Payload())
			t.Shared("room").Insert("ann")
			t.Shared("room").Insert("bob")
			t.Shared("room").Remove("bob")
			t.Shared("level").As(agent.Tally).Add(-2)
			return fmt.Append(nil, t.Shared("words").Field("a").Int()), nil
		},
		"fail": func(t *agent.Turn) ([]byte, error) {
			t.Shared("words").Field("a").Add(100)
			return nil, errors.New("no")
		},
		"clear": func(t *agent.Turn) ([]byte, error) {
			t.Shared("last").Clear()
			t.Shared("level").Clear()
			_, ok := t.Shared("last").Get()
			return fmt.Append(nil, ok), nil
		},
		"dump": func(t *agent.Turn) (out []byte, _ error) {
			for field, v := range t.Shared("words").Fields() {
				out = fmt.Append(out, field, "=", v.Number, " ")
			}
			for item := range t.Shared("room").Items() {
				out = fmt.Append(out, item, " ")
			}
			v, ok := t.Shared("last").Get()
			return fmt.Append(out, string(v.Bytes), ok, t.Shared("seen").Int(), t.Shared("room").Has("ann"), t.Shared("none").Int()), nil
		},
		"down": func(t *agent.Turn) ([]byte, error) { t.Shared("words").Field("a").Add(-1); return nil, nil },
		"kind": func(t *agent.Turn) ([]byte, error) { t.Shared("last").Insert("x"); return nil, nil },
		"gone": func(t *agent.Turn) ([]byte, error) { t.Shared("seen").Clear(); return nil, nil },
	})
	call := func(method, payload, want string) {
		t.Helper()
		if got, err := f.Call("a", method, []byte(payload)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", method, got, err, want)
		}
	}
	call("count", "a b a", "2")
	call("count", "a", "3")
	for _, m := range []string{"fail", "down", "kind", "gone"} {
		if _, err := f.Call("a", m, nil); err == nil {
			t.Errorf("%s went well", m)
		}
	}
	if _, err := f.Read("a", "count", []byte("a")); err == nil {
		t.Error("a change of a turn that reads")
	}
	call("dump", "", "a=3 b=1 ann atrue 2 true 0")
	if got, err := f.Read("a", "dump", nil); err != nil || string(got) != "a=3 b=1 ann atrue 2 true 0" {
		t.Errorf("reading: %q, %v", got, err)
	}
	call("clear", "", "false")
	if got := fmt.Sprint(f.Shared()); got != "map[room:ann seen:r1 r2 words#a:3 words#b:1]" {
		t.Error(got)
	}
}

func TestData(t *testing.T) {
	f := New()
	f.AddFile("set", "a", []byte("hello"))
	f.AddFile("set", "sub/b", nil)
	f.AddFile("set", "z", bytes.Repeat([]byte("0123456789"), 300_000))
	f.AddFile("one", "", []byte("alone"))
	read := func(dataset, path string, offset int64, n int) agent.Func {
		return func(t *agent.Turn) ([]byte, error) {
			b := make([]byte, n)
			n, err := t.File(dataset, path).ReadAt(b, offset)
			if errors.Is(err, io.EOF) {
				return append(b[:n], " end"...), nil
			}
			return b[:n], err
		}
	}
	for _, c := range []struct {
		f    agent.Func
		want string
	}{
		{read("set", "a", 1, 3), "ell"},
		{read("set", "a", 1, 9), "ello end"},
		{read("set", "a", 5, 1), " end"},
		{read("one", "", 0, 5), "alone"},
		{func(t *agent.Turn) ([]byte, error) { // over several reads
			b, err := io.ReadAll(io.NewSectionReader(t.File("set", "z"), 7, 2_900_001))
			return fmt.Appendf(nil, "%d %s %s", len(b), b[:3], b[len(b)-3:]), err
		}, "2900001 789 567"},
		{func(t *agent.Turn) ([]byte, error) {
			n, err := t.File("set", "z").Size()
			return fmt.Append(nil, n), err
		}, "3000000"},
		{func(t *agent.Turn) (out []byte, _ error) {
			for e, err := range t.Files("set", "") {
				if err != nil {
					return nil, err
				}
				out = fmt.Append(out, e, " ")
			}
			return out, nil
		}, "{a 5 false} {sub 0 true} {z 3000000 false} "},
	} {
		f.Add("a", Methods{"m": c.f})
		for _, call := range []func(string, string, []byte) ([]byte, error){f.Call, f.Read} {
			if got, err := call("a", "m", nil); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		}
	}
	for want, m := range map[string]agent.Func{
		"beyond": read("set", "a", 6, 1), "folder": read("set", "sub", 0, 1), "no such file": read("other", "a", 0, 1),
		"it is a folder": func(t *agent.Turn) ([]byte, error) { _, err := t.File("set", "").Size(); return nil, err },
	} {
		f.Add("a", Methods{"m": m})
		if _, err := f.Call("a", "m", nil); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "offset 6") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
