package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Stream is messages that go through a durable topic to an agent whose node is killed in the midst of them.
type Stream struct {
	Keys     int    `json:"keys"`
	Sent     int    `json:"sent"`    // acknowledged by the topic
	Unknown  int    `json:"unknown"` // whose senders do not know what came of them: they sent no more
	Received int    `json:"received"`
	Again    int    `json:"again"`    // came twice, or after a later one of their key
	LeftOut  int    `json:"left_out"` // numbers of a key that were passed over
	Killed   string `json:"killed"`
	MovedTo  string `json:"moved_to"`
}

const (
	streamTopic = "demo/events"
	streamAgent = "demo-ledger"
	streamKeys  = 4
	streamPause = 2 * time.Millisecond // between two messages of one key
	streamWait  = 30 * time.Second     // until all that was sent is received
)

// stream makes a topic and an agent bound to it, on the peer that is to be lost, and sends from nodes that stay. The function that it returns
// ends that and looks at what was received.
func (d *run) stream(ctx context.Context, live []*node.Node, doomed shoal.PeerID) (finish func() error, err error) {
	from := live[0]
	if from.ID() == doomed {
		from = live[1]
	}
	made, err := from.CreateAgent(ctx, "example:ledger", cid.Undef, agents.CreateOptions{Name: streamAgent, Near: []shoal.PeerID{doomed}})
	if err != nil {
		return nil, err
	}
	if _, err := from.CreateTopic(ctx, streamTopic, topic.Definition{Durable: true}, 0); err != nil {
		return nil, err
	}
	p, err := from.Topics()
	if err != nil {
		return nil, err
	}
	// The key, as the directory may be lost with the node.
	if _, err := p.Bind(ctx, streamTopic, topic.Binding{Kind: topic.Agent, To: made.Key, Method: "take", Mode: topic.Each}); err != nil {
		return nil, err
	}
	d.r.Stream.Keys, d.r.Stream.Killed = streamKeys, d.f.names[doomed]
	work, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var sent, unknown atomic.Int64
	for k := range streamKeys {
		wg.Go(func() {
			for i := 1; work.Err() == nil; i++ {
				m := topic.Message{Key: fmt.Sprint("k", k), Body: fmt.Appendf(nil, "k%d %d", k, i)}
				if err := p.Publish(ctx, streamTopic, m); err != nil {
					unknown.Add(1)
					return
				}
				sent.Add(1)
				time.Sleep(streamPause)
			}
		})
	}
	return func() error {
		stop()
		wg.Wait()
		s := &d.r.Stream
		s.Sent, s.Unknown = int(sent.Load()), int(unknown.Load())
		for end := time.Now().Add(streamWait); ; time.Sleep(50 * time.Millisecond) {
			b, err := from.CallAgent(ctx, made.Key, shoal.CallRequest{Method: "report", Read: true})
			var got struct {
				Taken   int `json:"taken"`
				Again   int `json:"again"`
				LeftOut int `json:"left_out"`
			}
			if err == nil {
				err = json.Unmarshal(b, &got)
			}
			if err != nil {
				return shoal.Wrap(shoal.Internal, "demo: the agent that is bound to a topic", err)
			}
			s.Received, s.Again, s.LeftOut = got.Taken, got.Again, got.LeftOut
			if s.Received >= s.Sent || time.Now().After(end) {
				break
			}
		}
		now, err := from.ShowAgent(ctx, made.Key)
		if err == nil {
			s.MovedTo = d.f.names[now.Leader]
		}
		return err
	}, nil
}

func (s *story) streamed(m Stream) {
	s.say("")
	s.say("8. Meanwhile messages went through a topic to an agent on the same node")
	s.say("   lived on %s, goes on on %s; %d keys, each with numbers from 1 on", m.Killed, m.MovedTo, m.Keys)
	s.say("   %d messages sent, %d received; %d of them twice, %d out of their order", m.Sent, m.Received, m.Again, m.LeftOut)
	if m.Unknown > 0 {
		s.say("   %d more were sent that nobody knows about", m.Unknown)
	}
}
