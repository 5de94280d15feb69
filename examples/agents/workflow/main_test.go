package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

var methods = agenttest.Methods{
	"name": Name, "account": Account, "licence": Licence, "mail": Mail, "index": Index,
	"undo": Undo, "stock": Stock, "show": Show, "status": Status,
}

// agents are the five, in order, and the method of each.
var agents = [][2]string{{"names", "name"}, {"accounts", "account"}, {"licences", "licence"}, {"mails", "mail"}, {"index", "index"}}

// open makes the agents and their topics. A topic is here an agent that passes on what it is sent; done and failed keep it too.
func open() *agenttest.Fabric {
	f := agenttest.New()
	relay := func(to ...[2]string) agenttest.Methods {
		return agenttest.Methods{"publish": func(t *agent.Turn) ([]byte, error) {
			n := t.Int("n") + 1
			t.PutInt("n", n)
			t.Put(fmt.Sprintf("m/%04d", n), t.Payload())
			for _, b := range to {
				t.Send(b[0], b[1], t.Payload())
			}
			return nil, nil
		}}
	}
	var undos [][2]string
	for _, a := range agents {
		f.Add(a[0], methods)
		f.Add("topic:signup/"+a[0], relay(a))
		undos = append(undos, [2]string{a[0], "undo"})
	}
	f.Add("topic:signup/failed", relay(undos...))
	f.Add("topic:signup/done", relay())
	return f
}

func call(t *testing.T, f *agenttest.Fabric, to, method, payload string) string {
	t.Helper()
	reply, err := f.Call(to, method, []byte(payload))
	if err != nil {
		t.Fatalf("%s %s %q: %v", to, method, payload, err)
	}
	return string(reply)
}

// came is what a topic got.
func came(f *agenttest.Fabric, topic string) (out []string) {
	state := f.State("topic:signup/" + topic)
	for n := 1; n <= len(state); n++ {
		if m, ok := state[fmt.Sprintf("m/%04d", n)]; ok {
			out = append(out, string(m))
		}
	}
	return out
}

func TestSignUp(t *testing.T) {
	f := open()
	call(t, f, "licences", "stock", "2")
	for _, m := range []string{"1 ann ann@x", "2 ann other@x", "3 bob ann@x", "4 bob bob@x", "5 eve eve@x", "6 eve e@x"} {
		call(t, f, "topic:signup/names", "publish", m)
		f.Settle()
		if m[0] == '5' { // the name is free again, and there is a licence more
			call(t, f, "licences", "stock", "1")
		}
	}
	if got := fmt.Sprint(came(f, "done")); got != "[1 ann ann@x 1 4 bob bob@x 3 6 eve e@x 5]" {
		t.Errorf("done: %s", got)
	}
	if got := strings.Join(came(f, "failed"), "; "); got != "2 name ann is taken; 3 mail ann@x is taken; 5 licence all licences are sold" {
		t.Errorf("failed: %s", got)
	}
	all := ""
	for _, a := range agents {
		all += call(t, f, a[0], "status", "")
	}
	if all != "name 5 2\naccount 5 2\nlicence 4 1\nmail 3 0\nindex 3 0\n" {
		t.Errorf("in all: %s", all)
	}
	if got := call(t, f, "names", "show", "5"); got != "5 name 1 1 eve\n" {
		t.Errorf("show: %q", got)
	}
	if got := call(t, f, "accounts", "show", ""); got != "1 account 1 0 1\n3 account 1 1 2\n4 account 1 0 3\n5 account 1 1 4\n6 account 1 0 5\n" {
		t.Errorf("show: %q", got)
	}
	for _, bad := range []string{"", "1", "1 ann", "1 ann a b c", "1/2 ann a", "1 ann " + strings.Repeat("x", 600)} {
		if _, err := f.Call("names", "name", []byte(bad)); err == nil {
			t.Errorf("%q is a sign-up", bad)
		}
	}
	for _, bad := range []string{"", "x", "-1"} {
		if _, err := f.Call("licences", "stock", []byte(bad)); err == nil {
			t.Errorf("stock %q", bad)
		}
	}
}

// TestTwice: a message that came twice would be told of, and would free nothing that somebody else has by then.
func TestTwice(t *testing.T) {
	f := open()
	call(t, f, "names", "name", "1 ann a")
	call(t, f, "names", "name", "1 ann a")
	if got := call(t, f, "names", "status", ""); got != "name 1 0 twice 1\n" {
		t.Errorf("done twice: %s", got)
	}
	call(t, f, "names", "undo", "1 mail no")
	call(t, f, "names", "name", "2 ann a")
	call(t, f, "names", "undo", "1 mail no")
	if got := call(t, f, "names", "show", ""); got != "1 name 2 2 ann\n2 name 1 0 ann\n" {
		t.Errorf("undone twice: %q", got)
	}
	if got := call(t, f, "names", "name", "3 ann a"); got != "ann is taken" {
		t.Errorf("the name of another was freed: %s", got)
	}
}

// TestAnyOrder has sign-ups come while agents and topics come and go: at the end what is kept is that of the users who are in.
func TestAnyOrder(t *testing.T) {
	succeeded, undone := 0, 0
	for seed := range uint64(50) {
		r, f := rand.New(rand.NewPCG(seed, 0)), open()
		call(t, f, "licences", "stock", "8")
		var all []string
		for _, a := range agents {
			all = append(all, a[0], "topic:signup/"+a[0])
		}
		all = append(all, "topic:signup/failed", "topic:signup/done")
		for id := range 30 {
			f.Down("topic:signup/names", false)
			call(t, f, "topic:signup/names", "publish", fmt.Sprintf("%d name%d address%d", id, r.IntN(15), r.IntN(15)))
			for range r.IntN(20) {
				f.Step()
			}
			f.Down(all[r.IntN(len(all))], r.IntN(2) == 0)
		}
		for _, name := range all {
			f.Down(name, false)
		}
		f.Settle()
		check(t, seed, f)
		succeeded += len(came(f, "done"))
		undone += len(came(f, "failed"))
	}
	if succeeded == 0 || undone == 0 {
		t.Errorf("%d succeeded and %d failed", succeeded, undone)
	}
}

// check compares what each agent keeps with what came out.
func check(t *testing.T, seed uint64, f *agenttest.Fabric) {
	t.Helper()
	in, names, addresses := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, m := range came(f, "done") {
		p := strings.Fields(m)
		if in[p[0]] || names[p[1]] || addresses[p[2]] {
			t.Errorf("seed %d: %s is in twice", seed, m)
		}
		in[p[0]], names[p[1]], addresses[p[2]] = true, true, true
	}
	failed := map[string]bool{}
	for _, m := range came(f, "failed") {
		id, _, _ := strings.Cut(m, " ")
		if failed[id] || in[id] {
			t.Errorf("seed %d: %s failed, and failed or succeeded before", seed, m)
		}
		failed[id] = true
	}
	if len(in)+len(failed) != 30 {
		t.Errorf("seed %d: %d succeeded and %d failed, of 30", seed, len(in), len(failed))
	}
	for _, a := range agents {
		held := map[string]bool{}
		for _, line := range strings.Split(strings.TrimSpace(call(t, f, a[0], "show", "")), "\n") {
			p := strings.Fields(line)
			if want := map[bool]string{true: "1 0", false: "1 1"}[in[p[0]]]; p[2]+" "+p[3] != want {
				t.Errorf("seed %d: %s: %s, want %s", seed, a[0], line, want)
			}
			held[p[0]] = p[3] == "0"
		}
		maps.DeleteFunc(held, func(_ string, is bool) bool { return !is })
		if !maps.Equal(held, in) {
			t.Errorf("seed %d: %s: %v are in, and it has %v", seed, a[0], in, held)
		}
		kept := 0
		for key := range f.State(a[0]) {
			if strings.HasPrefix(key, "has/") {
				kept++
			}
		}
		if a[0] != "licences" && kept != len(in) {
			t.Errorf("seed %d: %s keeps %d things of %d users", seed, a[0], kept, len(in))
		}
	}
	if left := call(t, f, "licences", "stock", "0"); left != fmt.Sprint(8-len(in)) {
		t.Errorf("seed %d: %s licences are left, and %d of 8 taken", seed, left, len(in))
	}
}
