// Membership is an agent that knows who is there. A member joins for a time and says before it is over that it
// still lives; else it is taken to have failed. Every change makes a new view, with a number, and is told to
// those who watch.
//
//	join NAME, MS   replies "view N MS"; the member must beat at least every MS milliseconds
//	beat NAME       replies "view N", or "gone": it is taken to have failed, or never joined
//	leave NAME      replies "view N", or "gone"
//	view            replies "view N" and the members, one a line, in order; it only reads
//	history         replies the last changes, one a line; it only reads
//	watch METHOD    sends the caller, which must be an agent, each new view as the payload of METHOD
//	unwatch
//
// expire is the timer's.
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport join
func join() int32 { return agent.Run(Join) }

//go:wasmexport beat
func beat() int32 { return agent.Run(Beat) }

//go:wasmexport leave
func leave() int32 { return agent.Run(Leave) }

//go:wasmexport view
func view() int32 { return agent.Run(View) }

//go:wasmexport history
func history() int32 { return agent.Run(History) }

//go:wasmexport watch
func watch() int32 { return agent.Run(Watch) }

//go:wasmexport unwatch
func unwatch() int32 { return agent.Run(Unwatch) }

//go:wasmexport expire
func expire() int32 { return agent.Run(Expire) }

const remembered = 100 // changes

func numbered(t *agent.Turn) []byte { return []byte("view " + strconv.FormatInt(t.Int("view"), 10)) }

func nameOf(s string) (string, error) {
	if s == "" || len(s) > 200 || strings.Contains(s, "\n") {
		return "", errors.New("a name is one line of 1 to 200 bytes")
	}
	return s, nil
}

// change makes a new view.
func change(t *agent.Turn, what string) {
	n := t.Int("view") + 1
	t.PutInt("view", n)
	t.Put("change/"+strconv.FormatInt(n%remembered, 10), []byte(strconv.FormatInt(n, 10)+" "+what))
	body, _ := View(t)
	for who, method := range t.All("watcher/") {
		t.Send(strings.TrimPrefix(who, "watcher/"), string(method), body)
	}
}

// await sets the time by which a member must beat. The timer names when it joined: one that went and came
// again is not ended by what was meant for it before.
func await(t *agent.Turn, name, entry string) {
	ms, _, _ := strings.Cut(entry, " ")
	n, _ := strconv.Atoi(ms)
	t.Timer("expire/"+name, time.Duration(n)*time.Millisecond, "expire", []byte(name+"\n"+entry))
}

// Join makes somebody a member, or changes how often it must beat.
func Join(t *agent.Turn) ([]byte, error) {
	first, ms, _ := strings.Cut(string(t.Payload()), "\n")
	name, err := nameOf(first)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.Atoi(ms); err != nil || n < 1 || n > 86_400_000 {
		return nil, errors.New("the time is 1 to 86400000 ms")
	}
	_, was := t.Get("member/" + name)
	serial := t.Int("serial") + 1
	t.PutInt("serial", serial)
	entry := ms + " " + strconv.FormatInt(serial, 10)
	t.Put("member/"+name, []byte(entry))
	await(t, name, entry)
	if !was {
		change(t, "joined "+name)
	}
	return append(numbered(t), " "+ms...), nil
}

// Beat is a member's sign of life.
func Beat(t *agent.Turn) ([]byte, error) {
	name, err := nameOf(string(t.Payload()))
	if err != nil {
		return nil, err
	}
	entry, ok := t.Get("member/" + name)
	if !ok {
		return []byte("gone"), nil
	}
	await(t, name, string(entry))
	return numbered(t), nil
}

// Leave ends a membership.
func Leave(t *agent.Turn) ([]byte, error) {
	name, err := nameOf(string(t.Payload()))
	if err != nil {
		return nil, err
	}
	if _, ok := t.Get("member/" + name); !ok {
		return []byte("gone"), nil
	}
	t.Delete("member/" + name)
	t.StopTimer("expire/" + name)
	change(t, "left "+name)
	return numbered(t), nil
}

// Expire is the end of a member's time.
func Expire(t *agent.Turn) ([]byte, error) {
	if t.Caller() != "timer" {
		return nil, errors.New("it is the timer's")
	}
	name, entry, _ := strings.Cut(string(t.Payload()), "\n")
	if now, ok := t.Get("member/" + name); ok && string(now) == entry {
		t.Delete("member/" + name)
		change(t, "failed "+name)
	}
	return nil, nil
}

// View lists the members.
func View(t *agent.Turn) ([]byte, error) {
	out := numbered(t)
	for key := range t.All("member/") {
		out = append(append(out, '\n'), strings.TrimPrefix(key, "member/")...)
	}
	return out, nil
}

// History lists the last changes.
func History(t *agent.Turn) ([]byte, error) {
	var out []string
	last := t.Int("view")
	for n := max(1, last-remembered+1); n <= last; n++ {
		c, _ := t.Get("change/" + strconv.FormatInt(n%remembered, 10))
		out = append(out, string(c))
	}
	return []byte(strings.Join(out, "\n")), nil
}

// Watch tells the caller of each change to come.
func Watch(t *agent.Turn) ([]byte, error) {
	method, err := nameOf(string(t.Payload()))
	if err != nil {
		return nil, err
	}
	t.Put("watcher/"+t.Caller(), []byte(method))
	return numbered(t), nil
}

// Unwatch ends that.
func Unwatch(t *agent.Turn) ([]byte, error) {
	t.Delete("watcher/" + t.Caller())
	return nil, nil
}
