package node

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/state"
	"github.com/shoal-fabric/shoal/state/merge"
)

var stateSeed = flag.Uint64("state-seed", 1, "of the nodes that are lost, and when")

// number is a counter as a node knows it.
func number(n *Node, name, field string) int64 {
	list, _ := n.State(name)
	for _, o := range list {
		if o.Field == field {
			return o.Number
		}
	}
	return 0
}

// TestProgramsShareState has agents, a service and tasks, on several nodes, count together.
func TestProgramsShareState(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, name := range []string{"a", "b"} {
		if _, err := ns[1].CreateAgent(ctx, "example:wordcount-stream", cid.Undef, agents.CreateOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 20
	var all sync.WaitGroup
	for i := range 2 * rounds {
		all.Go(func() {
			if got := callAgent(t, ns[i%3], []string{"a", "b"}[i%2], shoal.CallRequest{Method: "count", Payload: []byte("one two two")}); got != "3" {
				t.Errorf("counted %s words", got)
			}
		})
	}
	all.Wait()
	for i, n := range ns {
		eventually(t, 10*time.Second, fmt.Sprintf("node %d has all words", i), func() bool {
			return number(n, "wordcount", "one") == 2*rounds && number(n, "wordcount", "two") == 4*rounds
		})
	}
	if got := callAgent(t, ns[0], "a", shoal.CallRequest{Method: "top", Payload: []byte("1"), Read: true}); got != fmt.Sprintln(4*rounds, "two") {
		t.Errorf("top: %q", got)
	}
	if _, err := ns[0].CallAgent(ctx, "a", shoal.CallRequest{Method: "count", Payload: []byte("one"), Read: true}); err == nil || !strings.Contains(err.Error(), "reads only") {
		t.Errorf("a change of a turn that reads: %v", err)
	}

	// A service's method is the same; a turn that fails leaves nothing.
	if _, err := ns[0].CreateService(ctx, ServiceSpec{Name: "votes", Code: "example:poll", Method: "vote"}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := callService(t, ns[i%3], "votes", fmt.Sprintf("lunch\nvoter%d\nsoup", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := callService(t, ns[1], "votes", "lunch\nvoter"); err == nil {
		t.Error("half a vote was taken")
	}

	// Tasks: one that ends well counts, one that does not, does not.
	module, err := ns[0].Module(ctx, "example:count")
	if err != nil {
		t.Fatal(err)
	}
	task := func(n, on *Node, args ...string) (string, string, int) {
		var out, errs bytes.Buffer
		_, o, _, err := n.RunTask(ctx, RunSpec{Name: "count", Module: module, Args: args, On: on.ID(), Stdout: &out, Stderr: &errs})
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), o.Exit
	}
	if out, errs, exit := task(ns[0], ns[2], "runs#a", "3"); out != "3\n" || errs != "" || exit != 0 {
		t.Errorf("%q, %q, %d", out, errs, exit)
	}
	if got := number(ns[2], "runs", "a"); got != 3 {
		t.Errorf("the task's node has %d when the task's end is told", got)
	}
	if _, errs, exit := task(ns[0], ns[1], "lunch#voter1"); exit != 1 || !strings.Contains(errs, "it is a register") {
		t.Errorf("%q, %d", errs, exit)
	}
	for i, n := range ns {
		eventually(t, 10*time.Second, fmt.Sprintf("node %d has the votes and the runs", i), func() bool {
			list, _ := n.State("lunch")
			return len(list) == 6 && number(n, "runs", "a") == 3
		})
	}
}

// TestStateSurvivesLoss loses R-1 of five nodes at once, the one that was asked among them, with their disks, while it acknowledges
// changes on R disks: the others have all that was acknowledged.
func TestStateSurvivesLoss(t *testing.T) {
	t.Parallel()
	for _, copies := range []int{2, 3} {
		t.Run(fmt.Sprint("replicas ", copies), func(t *testing.T) {
			r := rand.New(rand.NewPCG(*stateSeed, uint64(copies)))
			t.Logf("-state-seed %d", *stateSeed)
			ns := nodes(t, 5, nil)
			r.Shuffle(len(ns), func(i, j int) { ns[i], ns[j] = ns[j], ns[i] })
			asked, lost, left := ns[0], ns[:copies-1], ns[copies-1:]
			var mu sync.Mutex
			var acked []string
			var all sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for w := range 4 {
				all.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						item := fmt.Sprintf("%d-%d", w, i)
						err := asked.ChangeState(ctx, copies,
							state.Change{Name: "acked", Kind: merge.GrowSet, Verb: state.Insert, Item: item},
							state.Change{Name: "sum", Verb: state.Add, By: 1})
						if err != nil {
							return
						}
						mu.Lock()
						acked = append(acked, item)
						mu.Unlock()
					}
				})
			}
			time.Sleep(time.Duration(500+r.IntN(500)) * time.Millisecond)
			var dying sync.WaitGroup
			for _, n := range lost { // at once
				dying.Go(func() {
					n.Kill()
					_ = os.RemoveAll(n.cfg.Dir)
				})
			}
			dying.Wait()
			cancel()
			all.Wait()
			if len(acked) < 20 {
				t.Fatalf("%d changes were acknowledged", len(acked))
			}
			for i, n := range left {
				eventually(t, 20*time.Second, fmt.Sprintf("node %d of those left has all of %d changes", i, len(acked)), func() bool {
					list, err := n.State("acked")
					if err != nil {
						return false
					}
					items := list[0].Items
					return !slices.ContainsFunc(acked, func(item string) bool { _, ok := slices.BinarySearch(items, item); return !ok }) &&
						number(n, "sum", "") >= int64(len(acked))
				})
			}
			t.Logf("%d changes acknowledged on %d disks", len(acked), copies)
		})
	}
}
