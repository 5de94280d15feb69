package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agenttest"
)

func open() *agenttest.Fabric {
	f := agenttest.New()
	f.Add("lock", agenttest.Methods{"acquire": Acquire, "renew": Renew, "release": Release, "holder": Holder})
	return f
}

func TestLock(t *testing.T) {
	f := open()
	for _, c := range []struct{ method, payload, want string }{
		{"holder", "a", "free"},
		{"acquire", "a\nann\n1000", "token 1"},
		{"acquire", "a\nbob\n1000", "held ann 1000"},
		{"acquire", "b\nbob\n1000", "token 2"},
		{"wait", "600", ""},
		{"holder", "a", "ann 1 400"},
		{"renew", "a\n1\n2000", "token 1"},
		{"renew", "a\n2\n2000", "lost"},
		{"wait", "600", ""},
		{"holder", "a", "ann 1 1400"},
		{"holder", "b", "free"},
		{"renew", "b\n2\n1000", "lost"},
		{"release", "b\n2", "lost"},
		{"acquire", "b\nann\n1000", "token 3"},
		{"release", "a\n1", "released"},
		{"acquire", "a\nbob\n1000", "token 4"},
		{"release", "a\n1", "lost"},
		{"acquire", "\nbob\n1000", "!"},
		{"acquire", "a\nbob\n0", "!"},
		{"acquire", "a\nbob", "!"},
		{"renew", "a\n4\nx", "!"},
	} {
		if c.method == "wait" {
			ms, _ := strconv.Atoi(c.payload)
			f.Advance(time.Duration(ms) * time.Millisecond)
			continue
		}
		got, err := f.Call("lock", c.method, []byte(c.payload))
		if (err != nil) != (c.want == "!") || err == nil && string(got) != c.want {
			t.Fatalf("%s %q: %q, %v, want %q", c.method, c.payload, got, err, c.want)
		}
	}
	if _, err := f.Read("lock", "holder", []byte("a")); err != nil {
		t.Errorf("holder only reads: %v", err)
	}
}

// TestOneHolder has many ask at random. Nobody is given a lock that is lent, and tokens only grow.
func TestOneHolder(t *testing.T) {
	for seed := range uint64(20) {
		r, f := rand.New(rand.NewPCG(seed, 0)), open()
		type held struct {
			token int
			until time.Time
		}
		var now held
		last := 0
		for range 200 {
			f.Advance(time.Duration(r.IntN(40)) * time.Millisecond)
			reply, err := f.Call("lock", "acquire", fmt.Appendf(nil, "x\nh%d\n100", r.IntN(5)))
			if err != nil {
				t.Fatal(err)
			}
			if word, ok := strings.CutPrefix(string(reply), "token "); ok {
				token, _ := strconv.Atoi(word)
				if token <= last || f.Now().Before(now.until) {
					t.Fatalf("seed %d: token %d after %d, %v before the end", seed, token, last, now.until.Sub(f.Now()))
				}
				last, now = token, held{token, f.Now().Add(100 * time.Millisecond)}
			} else if !f.Now().Before(now.until) {
				t.Fatalf("seed %d: %q, and the time is over", seed, reply)
			}
			if r.IntN(4) == 0 {
				if reply, err = f.Call("lock", "release", fmt.Appendf(nil, "x\n%d", now.token)); err != nil {
					t.Fatal(err)
				}
				if string(reply) == "released" {
					now.until = f.Now()
				}
			}
		}
	}
}
