package nemesis

import (
	"slices"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A value's version, and a lock's token, may be unknown: of one that an open call wrote, until somebody sees it.
// It is greater than all that were seen before.
const unknown = -1

// entry is one key of kv, or one lock.
type entry struct {
	ended  bool   // nothing happens any more
	number int64  // version or token; 0: none, or free
	text   string // value or holder
	most   int64  // the greatest number ever seen here
}

// is reports whether the entry has a number, which is not 0, or may have it.
func (e entry) is(n int64) bool {
	return n > 0 && (e.number == n || e.number == unknown && n > e.most)
}

// surely reports whether it has the number and no other.
func (e entry) surely(n int64) bool { return e.number == n && n > 0 }

// with is the entry once its number is known.
func (e entry) with(n int64) entry { return entry{number: n, text: e.text, most: max(e.most, n)} }

// reply is a reply in words: "swapped 7" is {"swapped", 7, ""}, a version and its value {"", 7, value}.
type reply struct {
	word   string
	number int64
	text   string
}

// number reads a decimal number; -2 if it is none, which no entry has.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return -2
	}
	return n
}

// parse reads a reply of an example.
func parse(o Op) reply {
	head, rest, _ := strings.Cut(o.Reply, "\n")
	word := strings.Split(head, " ")
	switch {
	case o.Model == "counter":
		return reply{number: number(o.Reply)}
	case o.Model == "kv" && (o.Method == "get" || o.Method == "put"):
		return reply{number: number(head), text: rest}
	case o.Model == "lock" && o.Method == "holder" && len(word) == 3:
		return reply{word: "held", text: word[0], number: number(word[1])}
	case word[0] == "held" && len(word) == 3:
		return reply{word: "held", text: word[1]}
	case len(word) == 2:
		return reply{word: word[0], number: number(word[1])}
	}
	return reply{word: head}
}

// step returns the states that a call may leave an entry in, none if it cannot have had this reply.
func step(e entry, o Op) []any {
	switch {
	case e.ended:
		return one(o.Open(), e)
	case o.Method == "end":
		return []any{entry{ended: true}}
	}
	var after []any
	switch o.Model {
	case "kv":
		after = stepKV(e, o)
	case "lock":
		after = stepLock(e, o)
	default:
		after = stepCounter(e, o)
	}
	if o.Open() {
		after = slices.DeleteFunc(after, func(x any) bool { return x == e })
	}
	return after
}

func one(ok bool, e entry) []any {
	if !ok {
		return nil
	}
	return []any{e}
}

func stepKV(e entry, o Op) []any {
	r := parse(o)
	switch o.Method {
	case "get":
		switch {
		case o.Open():
			return []any{e}
		case r.number == 0:
			return one(e.number == 0, e)
		}
		return one(e.is(r.number) && e.text == r.text, e.with(r.number))
	case "put":
		if o.Open() {
			return []any{entry{number: unknown, text: o.Rest, most: e.most}}
		}
		return one(r.number > e.most, entry{number: r.number, text: o.Rest, most: r.number})
	case "delete":
		switch {
		case o.Open() || r.word == "deleted" && e.number != 0:
			return []any{entry{number: 0, text: "", most: e.most}}
		}
		return one(r.word == "absent" && e.number == 0, e)
	case "swap":
		line, value, _ := strings.Cut(o.Rest, "\n")
		known := number(line)
		fits, surely := e.is(known), e.surely(known)
		if known == 0 {
			fits = e.number == 0
			surely = fits
		}
		switch {
		case o.Open():
			var out []any
			if fits {
				out = append(out, entry{number: unknown, text: value, most: max(e.most, known)})
			}
			if !surely {
				out = append(out, e)
			}
			return out
		case r.word == "swapped":
			return one(fits && r.number > known && r.number > e.most, entry{number: r.number, text: value, most: r.number})
		case r.word == "conflict" && r.number == 0:
			return one(e.number == 0 && known != 0, e)
		}
		return one(r.word == "conflict" && r.number != known && e.is(r.number), e.with(r.number))
	}
	return nil
}

// stepLock is for loans that do not run out during the history.
func stepLock(e entry, o Op) []any {
	r := parse(o)
	first, _, _ := strings.Cut(o.Rest, "\n")
	switch o.Method {
	case "acquire":
		switch {
		case o.Open() && e.number == 0:
			return []any{entry{number: unknown, text: first, most: e.most}}
		case o.Open():
			return []any{e}
		case r.word == "token":
			return one(e.number == 0 && r.number > e.most, entry{number: r.number, text: first, most: r.number})
		}
		return one(r.word == "held" && e.number != 0 && e.text == r.text, e)
	case "release":
		token := number(first)
		free := entry{number: 0, text: "", most: max(e.most, token)}
		switch {
		case o.Open():
			var out []any
			if e.is(token) {
				out = append(out, free)
			}
			if !e.surely(token) {
				out = append(out, e)
			}
			return out
		case r.word == "released":
			return one(e.is(token), free)
		}
		return one(r.word == "lost" && !e.surely(token), e)
	case "holder":
		switch {
		case o.Open():
			return []any{e}
		case r.word == "free":
			return one(e.number == 0, e)
		}
		return one(r.word == "held" && e.is(r.number) && e.text == r.text, e.with(r.number))
	}
	return nil
}

func stepCounter(e entry, o Op) []any {
	r := parse(o)
	after := entry{number: e.number + 1}
	switch {
	case o.Method == "get" && o.Open():
		return []any{e}
	case o.Method == "get":
		return one(r.number == e.number, e)
	case o.Open():
		return []any{after}
	}
	return one(r.number == after.number, after)
}

var spec = porcupine.NondeterministicModel{
	Init: func() []any { return []any{entry{}} },
	Step: func(state, input, _ any) []any { return step(state.(entry), input.(Op)) },
}

var model = spec.ToModel()
