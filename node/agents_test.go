package node

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
)

func callAgent(t *testing.T, n *Node, agent string, r shoal.CallRequest) string {
	t.Helper()
	patience := 30 * time.Second
	if underRace { // a module takes ten seconds to compile
		patience = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := n.CallAgent(ctx, agent, r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAgentOnNodes makes an agent of a real module on real nodes, loses the node it lives on, and wants all
// that was acknowledged.
func TestAgentOnNodes(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 4, nil)
	c, err := ns[1].CreateAgent(t.Context(), "example:counter", cid.Undef, agents.CreateOptions{Name: "hits"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Keepers) != 3 {
		t.Fatalf("created %+v, want three keepers", c)
	}
	const many = 200
	begun := time.Now()
	for i := range many {
		if got := callAgent(t, ns[i%4], "hits", shoal.CallRequest{Method: "add"}); got != strconv.Itoa(i+1) {
			t.Fatalf("call %d: %s", i, got)
		}
	}
	t.Logf("%v for a turn", time.Since(begun)/many)
	for i, n := range ns {
		if got := callAgent(t, n, c.Key, shoal.CallRequest{Method: "get", Read: true}); got != fmt.Sprint(many) {
			t.Errorf("node %d reads %s", i, got)
		}
	}
	s, err := ns[0].ShowAgent(t.Context(), "hits")
	if err != nil || s.Turns < many || s.Leader == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	var left []*Node
	for _, n := range ns {
		if n.ID() == s.Leader {
			n.Kill()
		} else {
			left = append(left, n)
		}
	}
	begun = time.Now()
	if got := callAgent(t, left[0], c.Key, shoal.CallRequest{Method: "add", Request: "after the kill"}); got != fmt.Sprint(many+1) {
		t.Errorf("after the kill: %s", got)
	}
	t.Logf("%v without service", time.Since(begun))
	if got := callAgent(t, left[1], c.Key, shoal.CallRequest{Method: "add", Request: "after the kill"}); got != fmt.Sprint(many+1) {
		t.Errorf("the same request again: %s", got)
	}
}
