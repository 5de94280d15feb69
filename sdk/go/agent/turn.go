package agent

import (
	"iter"
	"strconv"
	"time"
)

// Func is a method. It returns the reply, up to 1 MiB. An error fails the turn: nothing that it staged
// counts, and its caller gets the text.
type Func func(t *Turn) ([]byte, error)

// Turn is the processing of one message. It is good until its method returns. What the agent may not do,
// such as putting a value over 1 MiB, or anything in a turn that only reads, fails the turn when the method
// returns, whether or not the method looks at Err: half of what it staged would be worse than nothing.
type Turn struct {
	host Host
	err  error
}

// Invoke runs a method over a host. Run and tests use it.
func Invoke(h Host, f Func) ([]byte, error) {
	t := &Turn{host: h}
	reply, err := f(t)
	if err == nil {
		err = t.err
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Err is the first thing the turn may not do.
func (t *Turn) Err() error { return t.err }

func (t *Turn) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Payload is the message, which the method may keep and change.
func (t *Turn) Payload() []byte { return t.host.Payload() }

// Get returns the value of a key, and whether there is one.
func (t *Turn) Get(key string) ([]byte, bool) {
	v, err := t.host.Get(key)
	if err != nil && KindOf(err) != NotFound {
		t.keep(err)
	}
	return v, err == nil
}

// Put stages a value, up to 1 MiB, under a key of 1 to 1024 bytes.
func (t *Turn) Put(key string, value []byte) { t.keep(t.host.Put(key, value)) }

// Delete stages the removal of a key; there need be none.
func (t *Turn) Delete(key string) { t.keep(t.host.Delete(key)) }

// Scan returns some pairs, at most limit, whose key begins with prefix and comes after another one (""
// for the first), in order. It may be fewer, as up to 1 MiB come at once; none when there are no more.
func (t *Turn) Scan(prefix, after string, limit int) []Pair {
	pairs, err := t.host.Scan(prefix, after, limit)
	t.keep(err)
	return pairs
}

// All yields the pairs whose key begins with prefix, in order. Keys that the loop puts or deletes are
// seen or not by where they are in that order.
func (t *Turn) All(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		after := ""
		for {
			pairs := t.Scan(prefix, after, 100)
			for _, p := range pairs {
				if !yield(p.Key, p.Value) {
					return
				}
				after = p.Key
			}
			if len(pairs) == 0 {
				return
			}
		}
	}
}

// Int returns a number that PutInt put, 0 if there is none.
func (t *Turn) Int(key string) int64 {
	v, ok := t.Get(key)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil {
		t.keep(&Error{Invalid, "the value of " + strconv.Quote(key) + " is no number"})
	}
	return n
}

// PutInt puts a number, as decimal text.
func (t *Turn) PutInt(key string, n int64) { t.Put(key, strconv.AppendInt(nil, n, 10)) }

// Call asks another agent, by key or name, and waits for its reply. It is no part of this turn: it stays done
// if this turn fails. Refused: it would come back to an agent that waits.
func (t *Turn) Call(to, method string, payload []byte) ([]byte, error) {
	return t.host.Call(to, method, payload)
}

// Send stages a message to another agent, or this one. It arrives once, after this turn.
func (t *Turn) Send(to, method string, payload []byte) { t.keep(t.host.Send(to, method, payload)) }

// Timer has method called with payload, from delay after this turn on. A name that is set is set anew.
func (t *Turn) Timer(name string, delay time.Duration, method string, payload []byte) {
	t.keep(t.host.Timer(name, max(0, delay), method, payload))
}

// StopTimer clears a timer; there need be none.
func (t *Turn) StopTimer(name string) { t.keep(t.host.Timer(name, -1, "", nil)) }

// Log notes a line for the agent's owner.
func (t *Turn) Log(line string) { t.host.Log(line) }

// Now is the turn's time.
func (t *Turn) Now() time.Time { return time.Unix(0, t.host.Number("now")) }

// Random fills b.
func (t *Turn) Random(b []byte) { t.host.Random(b) }

// Agent is this agent's own key, as text.
func (t *Turn) Agent() string { return t.host.Text("agent") }

// Caller is who calls: an agent's key, a peer's ID, or "timer".
func (t *Turn) Caller() string { return t.host.Text("caller") }

// Request names the request, the same for each try.
func (t *Turn) Request() string { return t.host.Text("request") }

// Trace names the chain of calls.
func (t *Turn) Trace() string { return t.host.Text("trace") }

// Method is the method as it was called.
func (t *Turn) Method() string { return t.host.Text("method") }

// Epoch grows whenever the agent may have moved to another machine.
func (t *Turn) Epoch() uint64 { return uint64(t.host.Number("epoch")) }

// Gas is what is left of the turn's.
func (t *Turn) Gas() uint64 { return uint64(t.host.Number("gas")) }

// Reading reports whether the turn may only read.
func (t *Turn) Reading() bool { return t.host.Number("reading") != 0 }
