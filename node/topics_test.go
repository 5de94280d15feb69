package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

func topics(t *testing.T, n *Node) *pubsub.PubSub {
	t.Helper()
	p, err := n.Topics()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func makeTopic(t *testing.T, n *Node, name string, d topic.Definition) {
	t.Helper()
	if _, err := n.CreateTopic(t.Context(), name, d, 0); err != nil {
		t.Fatal(err)
	}
}

// report is what example:ledger says.
type report struct {
	Taken   int `json:"taken"`
	Again   int `json:"again"`
	LeftOut int `json:"left_out"`
}

func ledger(t *testing.T, n *Node, agent string) (r report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b, err := n.CallAgent(ctx, agent, shoal.CallRequest{Method: "report", Read: true})
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		t.Logf("ledger %s: %v", agent, err)
		return report{Taken: -1}
	}
	return r
}

// Messages of a durable topic reach an agent once and in the order of their key while the node that the agent lives on is lost,
// and then the one that the topic lives on.
func TestTopicOutlivesNodes(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 5, nil)
	// Two of five nodes are lost: with three keepers each that may be most of an agent's, and most of the directory's.
	key, err := ns[0].CreateTopic(t.Context(), "orders/created", topic.Definition{Durable: true}, 5)
	if err != nil {
		t.Fatal(err)
	}
	made, err := ns[1].CreateAgent(t.Context(), "example:ledger", cid.Undef, agents.CreateOptions{Name: "book", Replicas: 5, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	book := made.Key
	b := topic.Binding{Kind: topic.Agent, To: book, Method: "take", Mode: topic.Each, Key: `body.split(" ")[0]`}
	if _, err := topics(t, ns[1]).Bind(t.Context(), "orders/created", b); err == nil || !strings.Contains(err.Error(), "column") {
		t.Fatalf("an expression with a function that there is not: %v", err)
	}
	b.Key = "key"
	if _, err := topics(t, ns[1]).Bind(t.Context(), "orders/created", b); err != nil {
		t.Fatal(err)
	}
	const keys, each = 6, 60
	var mu sync.Mutex
	dead := map[*Node]bool{}
	alive := func(i int) *Node {
		mu.Lock()
		defer mu.Unlock()
		for ; ; i++ {
			if n := ns[i%len(ns)]; !dead[n] {
				return n
			}
		}
	}
	lose := func(agent string) {
		s, err := alive(0).ShowAgent(t.Context(), agent)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range ns {
			if n.ID() == s.Leader {
				mu.Lock()
				dead[n] = true
				mu.Unlock()
				n.Kill()
				t.Logf("%s lived on %s, which is lost", agent, n.ID().Short())
			}
		}
	}
	half := make(chan struct{}, keys)
	var all sync.WaitGroup
	for k := range keys {
		all.Go(func() {
			for i := 1; i <= each; i++ {
				m := topic.Message{Key: fmt.Sprint("k", k), Body: fmt.Appendf(nil, "k%d %d", k, i)}
				// What is not acknowledged may be in the log, and is published again, as who wants it there for certain does.
				for try := 0; ; try++ {
					n := alive(k + try)
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					err := topics(t, n).Publish(ctx, "orders/created", m)
					cancel()
					if err == nil {
						break
					}
					if try > 20 {
						t.Errorf("message %d of %d: %v", i, k, err)
						return
					}
				}
				if i == each/3 {
					half <- struct{}{}
				}
			}
		})
	}
	for i, n := range ns { // each has looked up the topic's name
		eventually(t, 20*time.Second, "the topic has five keepers", func() bool {
			s, err := topics(t, n).Show(t.Context(), "orders/created")
			a, bad := n.ShowAgent(t.Context(), key)
			if err != nil || bad != nil {
				t.Logf("node %d: %v, %v", i, err, bad)
				return false
			}
			return s.View.Made && len(a.Keepers) == 5
		})
	}
	<-half
	lose(book)
	<-half
	time.Sleep(2 * time.Second)
	lose(key)
	all.Wait()
	eventually(t, time.Minute, "all are taken", func() bool { return ledger(t, alive(0), book).Taken == keys*each })
	if r := ledger(t, alive(0), book); r.LeftOut != 0 {
		t.Errorf("order is not kept: %+v", r)
	} else {
		t.Logf("%+v", r)
	}
}

// A fast topic reaches who listens on every node, whom it is bound to, and whoever answers.
func TestFastTopic(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, nil)
	makeTopic(t, ns[0], "prices", topic.Definition{})
	var subs []*pubsub.Subscription
	for _, n := range ns {
		s, err := topics(t, n).Subscribe(t.Context(), "prices", pubsub.Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := ns[1].CreateAgent(t.Context(), "example:counterc", cid.Undef, agents.CreateOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
		if _, err := topics(t, ns[2]).Bind(t.Context(), "prices", topic.Binding{Kind: topic.Agent, To: name, Method: "add", Mode: topic.One, Group: "g", Filter: "size < 3"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := topics(t, ns[0]).Ask(t.Context(), "prices", topic.Message{}); shoal.KindOf(err) != shoal.NotFound {
		t.Fatalf("asked with nobody to answer: %v", err)
	}
	if _, err := topics(t, ns[2]).Bind(t.Context(), "prices", topic.Binding{Kind: topic.Agent, To: "one", Method: "get", Mode: topic.Ask}); err != nil {
		t.Fatal(err)
	}
	const each = 50
	want := 0
	var all sync.WaitGroup
	for i, n := range ns {
		for k := range each {
			want += 1 + (i+k)%9
		}
		all.Go(func() {
			for k := range each {
				if err := topics(t, n).Publish(t.Context(), "prices", topic.Message{Body: fmt.Append(nil, 1+(i+k)%9)}); err != nil {
					t.Error(err)
				}
			}
			long := strings.Repeat("x", topic.MaxBody+i+1)
			if err := topics(t, n).Publish(t.Context(), "prices", topic.Message{Body: []byte(long)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, s := range subs {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		next := map[string]uint64{}
		var long []int
		for range len(ns) * (each + 1) {
			e, err := s.Next(ctx)
			if err != nil || e.Gap != nil {
				t.Fatalf("node %d: %+v, %v", i, e.Gap, err)
			}
			if next[e.Publisher]++; e.Seq != next[e.Publisher] {
				t.Fatalf("node %d: number %d of %s, not %d", i, e.Seq, e.Publisher, next[e.Publisher])
			}
			if e.Data != "" {
				b, err := topics(t, ns[i]).Body(ctx, &e.Message, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				long = append(long, len(b)-topic.MaxBody)
			}
		}
		cancel()
		if slices.Sort(long); !slices.Equal(long, []int{1, 2, 3}) {
			t.Errorf("node %d: long bodies %v", i, long)
		}
	}
	sum := func() (n int) {
		for _, name := range []string{"one", "two"} {
			var k int
			fmt.Sscan(callAgent(t, ns[0], name, shoal.CallRequest{Method: "get", Read: true}), &k)
			n += k
		}
		return n
	}
	eventually(t, 20*time.Second, "the group has all", func() bool { return sum() == want })
	got, err := topics(t, ns[0]).Ask(t.Context(), "prices", topic.Message{})
	if one := callAgent(t, ns[0], "one", shoal.CallRequest{Method: "get", Read: true}); string(got) != one || err != nil {
		t.Errorf("asked: %s, %v, not %s", got, err, one)
	}
}
