// Queue is an agent that hands out messages, in order, each until somebody has said that it is done. A
// message that was pulled is hidden for a time, and comes again if it is not done by then; after five times
// it is dead and set aside.
//
//	push BODY             replies the message's number
//	pull [MS]             replies "NUMBER RECEIPT" and, on the next lines, the body; or "none"; hidden for MS, 30000
//	                      by default
//	done NUMBER RECEIPT   replies "done", or "stale" if it came again meanwhile
//	extend NUMBER RECEIPT MS  hides it for MS from now: replies "ok" or "stale"
//	count                 replies "READY HIDDEN DEAD"; it only reads
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport push
func push() int32 { return agent.Run(Push) }

//go:wasmexport pull
func pull() int32 { return agent.Run(Pull) }

//go:wasmexport done
func done() int32 { return agent.Run(Done) }

//go:wasmexport extend
func extend() int32 { return agent.Run(Extend) }

//go:wasmexport count
func count() int32 { return agent.Run(Count) }

const (
	tries = 5
	usual = 30_000 // ms

	maxBody = 1<<20 - 64
)

// What the agent keeps, by number in as many digits as sort well: the body, under "body/"; where the message is,
// under "at/", as "TIMES TIME"; and it is listed under "ready/" or, by the time at which it comes again, under
// "hidden/". TIMES, how often it was pulled, is its receipt.

func digits(n int64) string {
	s := strconv.FormatInt(n, 10)
	return strings.Repeat("0", max(0, 19-len(s))) + s
}

// now is the time, which never goes back for this agent.
func now(t *agent.Turn) int64 { return max(t.Now().UnixNano(), t.Int("now")) }

// Push appends a message.
func Push(t *agent.Turn) ([]byte, error) {
	if len(t.Payload()) > maxBody {
		return nil, errors.New("a message is 1 MiB less 64 bytes at most, so that pull can reply it")
	}
	n := t.Int("last") + 1
	t.PutInt("last", n)
	t.Put("body/"+digits(n), t.Payload())
	t.Put("at/"+digits(n), []byte("0 0"))
	t.Put("ready/"+digits(n), nil)
	t.PutInt("ready", t.Int("ready")+1)
	return strconv.AppendInt(nil, n, 10), nil
}

// wake makes messages ready whose time is over.
func wake(t *agent.Turn) {
	for _, p := range t.Scan("hidden/", "", 1000) {
		at, key, _ := strings.Cut(strings.TrimPrefix(p.Key, "hidden/"), "/")
		if at > digits(now(t)) {
			return
		}
		t.Delete(p.Key)
		t.PutInt("hidden", t.Int("hidden")-1)
		if times, _ := look(t, key); times >= tries {
			t.Put("dead/"+key, nil)
			t.PutInt("dead", t.Int("dead")+1)
			continue
		}
		t.Put("ready/"+key, nil)
		t.PutInt("ready", t.Int("ready")+1)
	}
}

// look says how often a message was pulled, and until when it is hidden.
func look(t *agent.Turn, key string) (times int64, until string) {
	entry, _ := t.Get("at/" + key)
	first, until, _ := strings.Cut(string(entry), " ")
	times, _ = strconv.ParseInt(first, 10, 64)
	return times, until
}

func hide(t *agent.Turn, key string, times int64, ms int) {
	t.PutInt("now", now(t))
	until := digits(now(t) + int64(ms)*int64(time.Millisecond))
	t.Put("hidden/"+until+"/"+key, nil)
	t.Put("at/"+key, []byte(strconv.FormatInt(times, 10)+" "+until))
	t.PutInt("hidden", t.Int("hidden")+1)
}

func period(s string) (int, error) {
	ms, err := strconv.Atoi(s)
	if err != nil || ms < 1 || ms > 86_400_000 {
		return 0, errors.New("the time is 1 to 86400000 ms")
	}
	return ms, nil
}

// Pull hands out the first message that is ready.
func Pull(t *agent.Turn) ([]byte, error) {
	ms := usual
	if p := string(t.Payload()); p != "" {
		var err error
		if ms, err = period(p); err != nil {
			return nil, err
		}
	}
	wake(t)
	first := t.Scan("ready/", "", 1)
	if len(first) == 0 {
		return []byte("none"), nil
	}
	key := strings.TrimPrefix(first[0].Key, "ready/")
	t.Delete(first[0].Key)
	t.PutInt("ready", t.Int("ready")-1)
	times, _ := look(t, key)
	hide(t, key, times+1, ms)
	body, _ := t.Get("body/" + key)
	return append([]byte(strings.TrimLeft(key, "0")+" "+strconv.FormatInt(times+1, 10)+"\n"), body...), nil
}

// held reads "NUMBER RECEIPT" and finds the message if it is hidden for that receipt.
func held(t *agent.Turn, fields int) (key string, times int64, part []string, err error) {
	part = strings.Fields(string(t.Payload()))
	if len(part) != fields {
		return "", 0, nil, errors.New("the payload has " + strconv.Itoa(fields) + " numbers")
	}
	n, err := strconv.ParseInt(part[0], 10, 64)
	if err != nil || n < 1 {
		return "", 0, nil, errors.New("no message has that number")
	}
	wake(t)
	key = digits(n)
	times, until := look(t, key)
	if _, ok := t.Get("hidden/" + until + "/" + key); !ok || strconv.FormatInt(times, 10) != part[1] {
		return "", 0, part, nil
	}
	t.Delete("hidden/" + until + "/" + key)
	t.PutInt("hidden", t.Int("hidden")-1)
	return key, times, part, nil
}

// Done removes a message.
func Done(t *agent.Turn) ([]byte, error) {
	key, _, _, err := held(t, 2)
	if err != nil || key == "" {
		return []byte("stale"), err
	}
	t.Delete("body/" + key)
	t.Delete("at/" + key)
	return []byte("done"), nil
}

// Extend hides a message for longer.
func Extend(t *agent.Turn) ([]byte, error) {
	key, times, part, err := held(t, 3)
	if err != nil || key == "" {
		return []byte("stale"), err
	}
	ms, err := period(part[2])
	if err != nil {
		return nil, err
	}
	hide(t, key, times, ms)
	return []byte("ok"), nil
}

// Count says how many messages there are. Those whose time is over count as hidden until the next pull.
func Count(t *agent.Turn) ([]byte, error) {
	var out []string
	for _, k := range []string{"ready", "hidden", "dead"} {
		out = append(out, strconv.FormatInt(t.Int(k), 10))
	}
	return []byte(strings.Join(out, " ")), nil
}
