// Poll is an agent that takes votes, and counts them where every node can see them: in mergeable state. Many of them, on any nodes, take
// votes of one poll and never ask one another. Payloads are lines.
//
//	vote POLL, VOTER, CHOICE   notes the choice; a voter who votes again has changed their mind
//	result POLL                replies "CHOICE COUNT" lines, the most first, as this node knows them; it only reads
//	turnout POLL               replies how many votes were cast, second thoughts included
//
// A turn that its node could not finish may be processed twice. So the choice is a register, a field for each voter, and the turnout the
// size of a growing set with an element for each request: both are the same when they are made twice, which a counter is not.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport vote
func vote() int32 { return agent.Run(Vote) }

//go:wasmexport result
func result() int32 { return agent.Run(Result) }

//go:wasmexport turnout
func turnout() int32 { return agent.Run(Turnout) }

// Vote notes a choice.
func Vote(t *agent.Turn) ([]byte, error) {
	a := strings.Split(string(t.Payload()), "\n")
	if len(a) != 3 || a[0] == "" || a[1] == "" || a[2] == "" {
		return nil, errors.New("the payload is three lines: POLL, VOTER, CHOICE")
	}
	t.Shared(a[0]).Field(a[1]).Set([]byte(a[2]))
	t.Shared(a[0] + "/cast").As(agent.GrowSet).Insert(t.Request())
	return nil, nil
}

// Result counts the choices.
func Result(t *agent.Turn) ([]byte, error) {
	votes := map[string]int{}
	for _, v := range t.Shared(string(t.Payload())).Fields() {
		if v.Kind == agent.Register {
			votes[string(v.Bytes)]++
		}
	}
	var out []byte
	for _, choice := range slices.SortedFunc(maps.Keys(votes), func(a, b string) int {
		return cmp.Or(votes[b]-votes[a], cmp.Compare(a, b))
	}) {
		out = fmt.Appendf(out, "%s %d\n", choice, votes[choice])
	}
	return out, nil
}

// Turnout counts the votes.
func Turnout(t *agent.Turn) ([]byte, error) {
	return strconv.AppendInt(nil, t.Shared(string(t.Payload())+"/cast").Int(), 10), nil
}
