package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// story is a history written by hand: calls one after the other, unless one begins with "+": that is under way
// until the end of the next one. "KEY METHOD REST -> REPLY"; a reply "?" never came.
func story(model string, lines ...string) *History {
	h := &History{}
	var under func()
	for _, line := range lines {
		call, reply, _ := strings.Cut(line, " -> ")
		call, along := strings.CutPrefix(call, "+")
		w := append(strings.SplitN(call, " ", 3), "", "")
		done := h.Begin(Op{Agent: model, Model: model, Key: w[0], Method: w[1], Rest: strings.ReplaceAll(w[2], "|", "\n")})
		end := func() {
			if reply != "?" {
				done(strings.ReplaceAll(reply, "|", "\n"), "")
			}
		}
		if along {
			under = end
			continue
		}
		end()
		if under != nil {
			under()
			under = nil
		}
	}
	return h
}

func TestWhatIsRight(t *testing.T) {
	for name, h := range map[string]*History{
		"kv": story("kv", "a get -> 0", "a put x -> 1", "a get -> 1|x", "a swap 1|y -> swapped 2", "b put z -> 3",
			"a swap 1|w -> conflict 2", "a delete -> deleted", "a delete -> absent", "a swap 2|w -> conflict 0", "a swap 0|v -> swapped 4"),
		"a reader beside a writer sees the old value": story("kv", "a put x -> 1", "+a put y -> 2", "a get -> 1|x", "a get -> 2|y"),
		"or the new one":                       story("kv", "a put x -> 1", "+a put y -> 2", "a get -> 2|y"),
		"an open write may come late":          story("kv", "a put x -> ?", "a get -> 0", "a get -> 0", "a get -> 1|x"),
		"or never":                             story("kv", "a put x -> ?", "a get -> 0", "a put y -> 1", "a get -> 1|y"),
		"an open swap":                         story("kv", "a put x -> 1", "a swap 1|y -> ?", "a swap 1|z -> conflict 2", "a get -> 2|y"),
		"an open delete":                       story("kv", "a put x -> 1", "a delete -> ?", "a get -> 1|x", "a get -> 0"),
		"a swap over what an open write wrote": story("kv", "a put x -> ?", "a swap 1|y -> swapped 2", "a get -> 2|y"),
		"lock":                                 story("lock", "l holder -> free", "l acquire ann|9 -> token 1", "l acquire bob|9 -> held ann 9", "l release 2 -> lost", "l holder -> ann 1 9", "l release 1 -> released", "l acquire bob|9 -> token 2"),
		"an open loan":                         story("lock", "l acquire ann|9 -> ?", "l acquire bob|9 -> held ann 9", "l holder -> ann 1 9", "l release 1 -> released", "l holder -> free"),
		"an open release":                      story("lock", "l acquire ann|9 -> token 1", "l release 1 -> ?", "l acquire bob|9 -> token 2"),
		"counter":                              story("counter", " get -> 0", " add -> 1", "+ add -> 3", " add -> 2", " get -> 3"),
		"an open write that was seen, under others":       story("kv", "a put x -> ?", "a put y -> 1", "a get -> 2|x", "a put z -> 3", "a delete -> ?", "a get -> 3|z"),
		"an open write that nobody saw was deleted":       story("kv", "a put x -> ?", "a delete -> deleted", "a get -> 0"),
		"an addition of which nobody knows":               story("counter", " add -> ?", " get -> 0", " add -> 2"),
		"tokens of two locks, given at once in any order": story("lock", "+l acquire ann|9 -> token 2", "m acquire ann|9 -> token 1"),
	} {
		if err := h.Check(time.Second); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	for name, h := range map[string]*History{
		"a stale read":                                story("kv", "a put x -> 1", "a put y -> 2", "a get -> 1|x"),
		"a stale read beside a later write":           story("kv", "a put x -> 1", "a put y -> 2", "+a put z -> 3", "a get -> 1|x"),
		"a read goes back":                            story("kv", "a put x -> 1", "+a put y -> 2", "a get -> 2|y", "+a get -> 2|y", "a get -> 1|x"),
		"a lost write":                                story("kv", "a put x -> 1", "a get -> 0"),
		"a lost write, seen by a swap":                story("kv", "a put x -> 1", "a put y -> 2", "a swap 1|z -> swapped 3"),
		"a write that was never made":                 story("kv", "a put x -> 1", "a get -> 1|y"),
		"an open write happens twice":                 story("kv", "a put x -> ?", "a get -> 1|x", "a delete -> deleted", "a get -> 2|x"),
		"an open write comes before its call":         story("kv", "a get -> 1|x", "a put x -> ?"),
		"an open write, seen under two versions":      story("kv", "a put x -> ?", "a get -> 1|x", "a put y -> 2", "a get -> 3|x"),
		"an open write, seen too early":               story("kv", "a put y -> 1", "a get -> 2|x", "a put x -> ?"),
		"two swaps of one version":                    story("kv", "a put x -> 1", "a swap 1|y -> swapped 2", "a swap 1|z -> swapped 3"),
		"a deleted key comes back":                    story("kv", "a put x -> 1", "a delete -> deleted", "a get -> 1|x"),
		"a version given twice":                       story("kv", "a put x -> 1", "b put x -> 1"),
		"a version that shrinks":                      story("kv", "a put x -> 2", "b put x -> 1"),
		"a lock lent twice":                           story("lock", "l acquire ann|9 -> token 1", "l acquire bob|9 -> token 2"),
		"a token that does not grow":                  story("lock", "l acquire ann|9 -> token 2", "l release 2 -> released", "l acquire bob|9 -> token 1"),
		"a token that does not grow, of another lock": story("lock", "l acquire ann|9 -> token 2", "m acquire bob|9 -> token 1"),
		"released twice":                              story("lock", "l acquire ann|9 -> token 1", "l release 1 -> released", "l release 1 -> released"),
		"a loan forgotten":                            story("lock", "l acquire ann|9 -> token 1", "l holder -> free"),
		"a doubled increment":                         story("counter", " add -> 1", " add -> 3"),
		"a doubled increment, seen by a read":         story("counter", " add -> 1", " get -> 2"),
		"an increment lost":                           story("counter", " add -> 1", " add -> 1"),
		"a reply that is none":                        story("counter", " add -> many"),
	} {
		if err := h.Check(time.Second); err == nil {
			t.Errorf("%s: it is taken for linearizable", name)
		}
	}
}

// TestTwin makes random histories on a map, which are right, and then changes one reply of a read.
func TestTwin(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		h, version, entries := &History{}, int64(0), map[string]entry{}
		for i := range 300 {
			key, value := fmt.Sprint("k", r.IntN(3)), fmt.Sprint(i)
			e := entries[key]
			o := Op{Agent: "kv", Model: "kv", Key: key}
			reply := ""
			switch r.IntN(4) {
			case 0:
				version++
				o.Method, o.Rest, reply = "put", value, strconv.FormatInt(version, 10)
				entries[key] = entry{number: version, text: value}
			case 1:
				o.Method, reply = "delete", "absent"
				if e.number > 0 {
					reply = "deleted"
				}
				entries[key] = entry{}
			default:
				o.Method, reply = "get", "0"
				if e.number > 0 {
					reply = fmt.Sprintf("%d\n%s", e.number, e.text)
				}
			}
			h.Begin(o)(reply, "")
		}
		if err := h.Check(time.Second); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, o := range h.ops {
			if o.Method == "get" && o.Reply != "0" && o.Call > 100 {
				o.Reply += "!"
				break
			}
		}
		if h.Check(time.Second) == nil {
			t.Fatalf("seed %d: a changed reply was not noticed", seed)
		}
	}
}
