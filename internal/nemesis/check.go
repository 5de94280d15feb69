package nemesis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Check reports what is wrong with a history, or nil: each key of each agent must be linearizable, and the numbers
// that an agent gives (versions, tokens) must grow, over all its keys. Each key has the time limit to be decided;
// one that is not decided is an error, too.
func (h *History) Check(limit time.Duration) error {
	parts := map[[2]string][]Op{}
	agents := map[string][]Op{}
	for _, o := range h.Ops() {
		k := [2]string{o.Agent, o.Key}
		parts[k] = append(parts[k], o)
		agents[o.Agent] = append(agents[o.Agent], o)
	}
	for agent, ops := range agents {
		if err := grow(ops); err != nil {
			return fmt.Errorf("%s: %w", agent, err)
		}
	}
	for k, ops := range parts {
		switch linearizable(ops, limit) {
		case porcupine.Illegal:
			return fmt.Errorf("%s %q is not linearizable: %s", k[0], k[1], smallest(ops, limit))
		case porcupine.Unknown:
			return fmt.Errorf("%s %q: %d operations were not decided in %v", k[0], k[1], len(ops), limit)
		}
	}
	return nil
}

// linearizable asks porcupine. Calls without a reply make that hard, as each may have happened at any time after it
// began. So those whose effect was seen are pinned first; then it is tried whether the others need not have happened
// at all; and only then where they may have.
func linearizable(ops []Op, limit time.Duration) porcupine.CheckResult {
	var known, maybe []porcupine.Operation
	end := int64(0)
	for _, o := range pinned(ops) {
		x := porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.Return}
		switch {
		case !o.Open():
			known = append(known, x)
			end = max(end, o.Return)
		case o.Method != "get" && o.Method != "holder": // a read without a reply says nothing
			maybe = append(maybe, x)
		}
	}
	r := porcupine.CheckOperationsTimeout(model, known, limit)
	if r == porcupine.Ok || len(maybe) == 0 {
		return r
	}
	// Before the end an open call counts only if it changes something; after it, all that are left never happened.
	last := porcupine.Operation{Input: Op{Method: "end"}, Call: end + 1, Return: end + 1}
	return porcupine.CheckOperationsTimeout(model, append(append(known, last), maybe...), limit)
}

// pinned gives the open writes whose effect was seen their reply, and the first moment by which they must have
// happened: no two calls write the same.
func pinned(ops []Op) []Op {
	type sight struct {
		number int64 // 0: not seen
		by     int64
	}
	first := map[string]sight{}
	for _, o := range ops {
		r := parse(o)
		sees := o.Model == "kv" && o.Method == "get" && r.number > 0 || o.Model == "lock" && r.word == "held"
		if o.Open() || !sees {
			continue
		}
		s, seen := first[r.text]
		if !seen || o.Return < s.by {
			s.by = o.Return
		}
		s.number = max(s.number, r.number) // a refusal names the holder without its token
		first[r.text] = s
	}
	out := slices.Clone(ops)
	for i := range out {
		o := &out[i]
		if !o.Open() {
			continue
		}
		head, value, _ := strings.Cut(o.Rest, "\n")
		reply := ""
		switch {
		case o.Model == "kv" && o.Method == "put":
			value = o.Rest
		case o.Model == "kv" && o.Method == "swap":
			reply = "swapped "
		case o.Model == "lock" && o.Method == "acquire":
			value, reply = head, "token "
		default:
			continue
		}
		if s, seen := first[value]; seen && s.number > 0 {
			o.Return, o.Reply = max(s.by, o.Call), reply+strconv.FormatInt(s.number, 10)
		}
	}
	return out
}

// smallest cuts a history that is not linearizable after the first reply that makes it so, and prints its end.
func smallest(ops []Op, limit time.Duration) string {
	slices.SortFunc(ops, func(x, y Op) int { return int(min(x.Return-y.Return, 1)) })
	low, high := 0, len(ops) // the first low replies are explained, the first high are not
	for low+1 < high {
		if mid := (low + high) / 2; linearizable(until(ops, mid), limit) == porcupine.Illegal {
			high = mid
		} else {
			low = mid
		}
	}
	cut := until(ops, high)
	slices.SortFunc(cut, func(x, y Op) int { return int(x.Call - y.Call) })
	var b strings.Builder
	fmt.Fprintf(&b, "the last of these replies cannot be:")
	for _, o := range cut[max(0, len(cut)-25):] {
		fmt.Fprintf(&b, "\n  %v", o)
	}
	return b.String()
}

// until returns what was known after n replies: calls made later are left out, those answered later are open.
func until(ops []Op, n int) (out []Op) {
	if n == 0 {
		return nil
	}
	end := ops[n-1].Return
	for _, o := range ops {
		if o.Call > end {
			continue
		}
		if o.Return > end {
			o.Return = open
		}
		out = append(out, o)
	}
	return out
}

// grow holds the numbers that one agent gave against the order in which it was asked: none twice, and a call that
// began after another was answered got a greater one.
func grow(ops []Op) error {
	type event struct {
		at     int64
		answer bool
		op     *Op
		number int64
	}
	var events []event
	for i := range ops {
		o := &ops[i]
		r := parse(*o)
		gives := o.Method == "put" || o.Method == "add" || r.word == "swapped" || r.word == "token"
		if !o.Open() && gives {
			events = append(events, event{o.Call, false, o, r.number}, event{o.Return, true, o, r.number})
		}
	}
	slices.SortFunc(events, func(x, y event) int { return int(x.at - y.at) })
	given := map[int64]*Op{}
	var most event
	floor := map[*Op]event{} // what had been given when a call began
	for _, e := range events {
		if !e.answer {
			floor[e.op] = most
			continue
		}
		if other := given[e.number]; other != nil {
			return fmt.Errorf("%d was given twice: %v; and %v", e.number, other, e.op)
		}
		given[e.number] = e.op
		if f := floor[e.op]; f.op != nil && f.number > e.number {
			return fmt.Errorf("%d was given after %d: %v; and %v", e.number, f.number, e.op, f.op)
		}
		if e.number > most.number {
			most = e
		}
	}
	return nil
}
