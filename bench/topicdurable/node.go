package topicdurable

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/wire"
)

const name = "bench"

// setup is what a node's process is told.
type setup struct{ Dir, Join, Listen string }

// ready is what it says of itself.
type ready struct{ Invite string }

// worker is a node in a process of its own.
type worker struct {
	*node.Node
	topics *pubsub.PubSub
	*publishing
}

// serve starts a node as `shoal up` does, on loopback.
func serve(ctx context.Context, s setup) (*rig.Worker, error) {
	release := node.Headroom()
	n, err := node.Open(ctx, node.Config{
		Dir: s.Dir, Join: s.Join, Listen: []string{s.Listen}, NoMDNS: true,
		Compiler: func(ctx context.Context, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "/proc/self/exe", append([]string{hostile.CompileArg}, args...)...)
		},
	})
	if err != nil {
		return nil, err
	}
	w := &worker{Node: n, publishing: newPublishing()}
	if w.topics, err = n.Topics(); err != nil {
		return nil, err
	}
	var r ready
	if s.Join == "" {
		if r.Invite, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	return &rig.Worker{
		Ready: r,
		Close: func() { n.Close(); release() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"met": rig.Verb(w.met), "create": rig.Verb(w.create), "ring": rig.Verb(w.publish), "check": rig.Verb(w.checked),
		},
	}, nil
}

// met waits until this node takes so many members for alive.
func (w *worker) met(ctx context.Context, others int) (any, error) {
	for {
		peers, _, err := w.Peers(ctx, "")
		if err != nil {
			return nil, err
		}
		alive := 0
		for _, p := range peers {
			if p.State == shoal.Alive {
				alive++
			}
		}
		if w.Status().Connected >= others && alive >= others {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// create makes the topic, with three keepers or not at all.
func (w *worker) create(ctx context.Context, _ any) (any, error) {
	key, err := w.CreateTopic(ctx, name, topic.Definition{Durable: true}, keepers)
	if err != nil {
		return nil, err
	}
	s, err := w.ShowAgent(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(s.Keepers) != keepers {
		return nil, fmt.Errorf("the topic has %d keepers", len(s.Keepers))
	}
	return nil, nil
}

func (w *worker) publish(ctx context.Context, o order) (rig.Figures, error) {
	return w.ring(ctx, o, func(ctx context.Context, body []byte) error {
		return w.topics.Publish(ctx, name, topic.Message{Body: body})
	})
}

// checked reads the whole log.
func (w *worker) checked(ctx context.Context, _ any) (int, error) {
	return w.check(func(see func([]byte) error) error {
		for from := uint64(1); ; {
			b, err := w.CallAgent(ctx, topic.Prefix+name, shoal.CallRequest{Method: "read", Payload: wire.Marshal(topic.Read{From: from}), Read: true})
			if err != nil {
				return err
			}
			var p topic.Page
			if err := wire.Unmarshal("page", b, &p); err != nil {
				return err
			}
			if p.First > 1 {
				return fmt.Errorf("the log begins at %d", p.First)
			}
			for _, m := range p.Messages {
				if err := see(m.Body); err != nil {
					return err
				}
				from = m.Offset + 1
			}
			if from >= p.Next {
				return nil
			}
		}
	})
}
