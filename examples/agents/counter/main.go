// Counter is an agent that counts: the smallest one there is.
//
//	add [N]   adds N, 1 by default, and replies the total
//	get       replies the total; it only reads
package main

import (
	"errors"
	"strconv"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport add
func add() int32 { return agent.Run(Add) }

//go:wasmexport get
func get() int32 { return agent.Run(Get) }

// Add adds to the total.
func Add(t *agent.Turn) ([]byte, error) {
	n := int64(1)
	if p := string(t.Payload()); p != "" {
		var err error
		if n, err = strconv.ParseInt(p, 10, 64); err != nil {
			return nil, errors.New(strconv.Quote(p) + " is no number")
		}
	}
	total := t.Int("total")
	if sum := total + n; (sum > total) == (n > 0) || n == 0 {
		t.PutInt("total", sum)
		return strconv.AppendInt(nil, sum, 10), nil
	}
	return nil, errors.New("that is too much")
}

// Get replies the total.
func Get(t *agent.Turn) ([]byte, error) { return strconv.AppendInt(nil, t.Int("total"), 10), nil }
