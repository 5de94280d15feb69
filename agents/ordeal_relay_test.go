package agents

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// relay counts as counter does, sends a message to another agent for each, and is rung once for each by a timer.
type relay struct{}

func (relay) Methods() []string                              { return []string{"add", "get", "ring", "rung"} }
func (r relay) Open(context.Context) (shoal.Instance, error) { return r, nil }
func (relay) Broken() bool                                   { return false }
func (relay) Close()                                         {}

// Turn implements shoal.Instance.
func (relay) Turn(_ context.Context, t *shoal.Turn) ([]byte, error) {
	count := func(key string, by int) (string, error) {
		b, _, err := t.State.Get([]byte(key))
		if err != nil {
			return "", err
		}
		n, _ := strconv.Atoi(string(b))
		if by > 0 {
			err = t.State.Put([]byte(key), []byte(itoa(n+by)))
		}
		return itoa(n + by), err
	}
	switch t.Method {
	case "get":
		n, err := count("n", 0)
		return []byte(n), err
	case "rung", "ring":
		n, err := count("rung", map[string]int{"ring": 1}[t.Method])
		return []byte(n), err
	}
	n, err := count("n", 1)
	if err == nil {
		err = t.Out.Send("sink", "add", nil)
	}
	if err == nil {
		err = t.Out.Timer("t"+n, 700*time.Millisecond, "ring", nil)
	}
	return []byte(n), err
}

// TestOrdealOfMessages wants each message of an outbox to arrive once, and each timer to fire once, whatever happens
// to the machines. (Wall clocks stay right: a timer of a clock that is an hour fast waits for an hour.)
func TestOrdealOfMessages(t *testing.T) {
	folder := compiled(t)
	for i := range max(1, *ordealSeeds/3) {
		seed := *ordealSeed + uint64(i)
		var o *ordeal
		bubble.Test(t, func(t *testing.T) {
			code, done := modules(t, folder)
			defer done()
			code["relay"], code["sink"] = relay{}, code["counter"]
			o = newOrdeal(t, seed, code, nil)
			faults := slices.DeleteFunc(slices.Sorted(maps.Keys(nemeses)), func(s string) bool { return s == "clock" })
			o.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
			o.last = func(c *crowd) {
				read := func(agent, method string) string {
					for range 50 {
						ctx, cancel := context.WithTimeout(o.ctx, 5*time.Second)
						b, err := o.machines[1].call(ctx, KeyText(c.keys[agent]), shoal.CallRequest{Method: method, Read: true})
						cancel()
						if err == nil {
							return string(b)
						}
						time.Sleep(time.Second)
					}
					return "no reply"
				}
				time.Sleep(30 * time.Second)
				told, came, rung := read("relay", "get"), read("sink", "get"), read("relay", "rung")
				if told != came || told != rung {
					t.Errorf("seed %d: %s messages were sent, %s came, %s timers fired", seed, told, came, rung)
				}
				t.Logf("seed %d: %s messages", seed, told)
			}
			o.run(faults, []string{"relay", "relay", "relay", "kv", "relay"})
			o.close()
		})
		if err := o.h.Check(time.Minute); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
