// Primes is a long computation that outlives machines: it counts the primes below a number, part by part. Each
// part is a turn, which keeps how far it came and has a timer call the next one; whatever becomes of the
// machine, the next part goes on from the last that was durable, and between two parts the agent answers.
//
//	start N    begins to count the primes below N, up to 10^9
//	progress   replies "N AT COUNT PARTS", and "done" behind it at the end; it only reads
//	stop       ends it
//
// step is the timer's.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport start
func start() int32 { return agent.Run(Start) }

//go:wasmexport progress
func progress() int32 { return agent.Run(Progress) }

//go:wasmexport stop
func stop() int32 { return agent.Run(Stop) }

//go:wasmexport step
func step() int32 { return agent.Run(Step) }

// part is how many numbers one turn looks at, so that others wait for some milliseconds at most; with little
// gas it looks at fewer.
const (
	part    = 20_000
	gasLeft = 2_000_000
)

// Start begins.
func Start(t *agent.Turn) ([]byte, error) {
	n, err := strconv.ParseInt(string(t.Payload()), 10, 64)
	if err != nil || n < 2 || n > 1_000_000_000 {
		return nil, errors.New("the payload is a number from 2 to 10^9")
	}
	if _, runs := t.Get("below"); runs && t.Int("at") < t.Int("below") {
		return nil, errors.New("it counts already: stop it first")
	}
	t.PutInt("below", n)
	t.PutInt("at", 2)
	t.PutInt("count", 0)
	t.PutInt("parts", 0)
	t.Timer("step", 0, "step", nil)
	return nil, nil
}

// Step does one part.
func Step(t *agent.Turn) ([]byte, error) {
	below, at, count := t.Int("below"), t.Int("at"), t.Int("count")
	for end := min(below, at+part); at < end; at++ {
		if prime(at) {
			count++
		}
		if at%64 == 0 && t.Gas() < gasLeft {
			at++
			break
		}
	}
	t.PutInt("at", at)
	t.PutInt("count", count)
	t.PutInt("parts", t.Int("parts")+1)
	if at < below {
		t.Timer("step", 0, "step", nil)
	}
	return nil, nil
}

func prime(n int64) bool {
	for d := int64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// Progress says how far it is.
func Progress(t *agent.Turn) ([]byte, error) {
	var out []string
	for _, key := range []string{"below", "at", "count", "parts"} {
		out = append(out, strconv.FormatInt(t.Int(key), 10))
	}
	if below := t.Int("below"); below > 0 && t.Int("at") >= below {
		out = append(out, "done")
	}
	return []byte(strings.Join(out, " ")), nil
}

// Stop ends it.
func Stop(t *agent.Turn) ([]byte, error) {
	t.StopTimer("step")
	for _, key := range []string{"below", "at", "count", "parts"} {
		t.Delete(key)
	}
	return nil, nil
}
