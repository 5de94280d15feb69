//go:build process && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

const (
	nemesisTopic = "storm/events"
	stormKeys    = 8
	stormTime    = 45 * time.Second // of faults
)

// TestNemesisTopics has a durable topic of real processes go through kill -9, SIGSTOP, links cut one way and both, and moves of its agent and
// of those that are bound to it. Each of some keys has numbers from 1 on, of which one is published when the one before was
// acknowledged. In the end each ledger has every number of its keys, in order, and as often as it is in the log.
func TestNemesisTopics(t *testing.T) {
	f := newFarm(t)
	defer f.end()
	f.prey = []string{topic.Prefix + nemesisTopic, "book", topic.Prefix + nemesisTopic, "left"}
	post := func(path string, in any) {
		f.eventually(path, func(ctx context.Context) error {
			err := f.nodes[0].client.Call(ctx, http.MethodPost, path, in, nil)
			if shoal.KindOf(err) == shoal.Exists {
				return nil
			}
			return err
		})
	}
	for _, name := range []string{"book", "left", "right"} {
		post("agents", api.AgentCreate{Name: name, Code: "example:ledger", Replicas: 3, Strict: true})
	}
	post("topics", api.TopicCreate{Name: nemesisTopic, Durable: true})
	post("topics/bind", api.TopicBind{Topic: nemesisTopic, To: "book.take", Mode: topic.Each})
	post("topics/bind", api.TopicBind{Topic: nemesisTopic, To: "left.take", Mode: topic.One, Group: "g"})
	post("topics/bind", api.TopicBind{Topic: nemesisTopic, To: "right.take", Mode: topic.One, Group: "g"})
	var last [stormKeys]atomic.Int64 // number that was acknowledged
	for k := range last {
		rng := rand.New(rand.NewPCG(*nemesisSeed, uint64(20_000+k)))
		f.work.Go(func() {
			at := f.nodes[k%farmNodes]
			for n := int64(1); !f.over.Load(); {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				err := at.client.Call(ctx, http.MethodPost, "topics/publish", api.TopicPublish{Topic: nemesisTopic, Messages: []api.TopicMessage{
					{Key: fmt.Sprint("k", k), Body: fmt.Appendf(nil, "k%d %d", k, n)},
				}}, nil)
				cancel()
				if err != nil { // it may be in the log: again, until it is for certain
					at = f.nodes[rng.IntN(farmNodes)]
					time.Sleep(100 * time.Millisecond)
					continue
				}
				last[k].Store(n)
				n++
				time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Millisecond))))
			}
		})
	}
	faults := f.faults()
	delete(faults, "disk full")
	names := []string{}
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	for end := time.Now().Add(stormTime); time.Now().Before(end) && !t.Failed(); {
		f.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			faults[name]()
			time.Sleep(f.some(0, time.Second))
		}
	}
	f.over.Store(true)
	f.work.Wait()
	var want int64
	for k := range last {
		if last[k].Load() == 0 {
			t.Errorf("nothing of key %d was acknowledged", k)
		}
		want += last[k].Load()
	}
	log, doubled := f.readLog(last[:])
	t.Logf("seed %d: %d numbers acknowledged, %d messages in the log, %d of them again", *nemesisSeed, want, log, doubled)
	type ledger struct {
		Taken   int64 `json:"taken"`
		Again   int64 `json:"again"`
		LeftOut int64 `json:"left_out"`
	}
	look := func(ctx context.Context, name string) (l ledger, err error) {
		var res api.AgentReply
		err = f.nodes[1].client.Call(ctx, http.MethodPost, "agents/call", api.AgentCall{Agent: name, Method: "report", Read: true}, &res)
		if err == nil {
			err = json.Unmarshal(res.Reply, &l)
		}
		return l, err
	}
	f.eventually("all is delivered", func(ctx context.Context) error {
		var info api.TopicInfo
		if err := f.nodes[2].client.Call(ctx, http.MethodGet, api.Query("topics/show", "topic", nemesisTopic), nil, &info); err != nil {
			return err
		}
		for _, c := range info.Consumers {
			if c.Lag > 0 {
				return fmt.Errorf("%s is behind by %d", c.Name, c.Lag)
			}
			if c.Dead > 0 {
				t.Errorf("seed %d: %s has given up %d", *nemesisSeed, c.Name, c.Dead)
			}
		}
		return nil
	})
	f.eventually("the ledgers answer", func(ctx context.Context) error {
		book, err := look(ctx, "book")
		if err != nil {
			return err
		}
		left, err := look(ctx, "left")
		if err != nil {
			return err
		}
		right, err := look(ctx, "right")
		if err != nil {
			return err
		}
		t.Logf("book %+v, left %+v, right %+v", book, left, right)
		if book.LeftOut != 0 || book.Taken != log-doubled || book.Again != doubled {
			t.Errorf("seed %d: the book has %+v, and the log %d with %d again", *nemesisSeed, book, log, doubled)
		}
		if n := left.Taken + right.Taken; left.LeftOut+right.LeftOut != 0 || n != log-doubled || left.Again+right.Again != doubled {
			t.Errorf("seed %d: the group has %+v and %+v, and the log %d with %d again", *nemesisSeed, left, right, log, doubled)
		}
		return nil
	})
}

// readLog reads the whole topic, wants every number that was acknowledged in it, and each key's in their order, and counts the messages and those that
// repeat one.
func (f *farm) readLog(last []atomic.Int64) (all, again int64) {
	seen := make([]int64, len(last))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var info api.TopicInfo
	f.eventually("the log is shown", func(ctx context.Context) error {
		return f.nodes[0].client.Call(ctx, http.MethodGet, api.Query("topics/show", "topic", nemesisTopic), nil, &info)
	})
	path := api.Query("topics/sub", "topic", nemesisTopic, "from", "1", "count", fmt.Sprint(info.Next-1))
	err := f.nodes[0].client.Stream(ctx, http.MethodGet, path, nil, nil, func(e api.Event) {
		if e.Message == nil || e.Message.Lost != nil {
			if e.Message != nil {
				f.t.Errorf("the log lacks %+v", e.Message.Lost)
			}
			return
		}
		var k int
		var n int64
		if _, err := fmt.Sscanf(strings.TrimPrefix(string(e.Message.Body), "k"), "%d %d", &k, &n); err != nil || k >= len(seen) {
			f.t.Errorf("the log has %q", e.Message.Body)
			return
		}
		all++
		switch {
		case n == seen[k]+1:
			seen[k] = n
		case n <= seen[k]:
			again++
		default:
			f.t.Errorf("the log has %d of key %d after %d", n, k, seen[k])
		}
	})
	if err != nil {
		f.t.Error(err)
	}
	for k := range last {
		if seen[k] < last[k].Load() {
			f.t.Errorf("of key %d the log has %d, and %d was acknowledged", k, seen[k], last[k].Load())
		}
	}
	return all, again
}
