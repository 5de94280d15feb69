package topic

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

const joinWait = 30 * time.Second // for all nodes to know all

// shoalWorld is nodes as `shoal up` makes them, in one fabric.
func shoalWorld(ctx context.Context, s setup, deliver func(int, []byte)) (_ *world, err error) {
	g := &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	life, stop := context.WithCancel(context.Background())
	g.add(stop)
	var nodes []*node.Node
	join := ""
	for i := range subscribers + 1 {
		n, err := node.Open(ctx, node.Config{Dir: filepath.Join(s.Dir, fmt.Sprint(i)), Join: join, Listen: []string{"127.0.0.1:0"}, NoMDNS: true})
		if err != nil {
			return nil, err
		}
		g.add(func() { n.Close() })
		nodes = append(nodes, n)
		if i == 0 {
			if join, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
				return nil, err
			}
		}
	}
	for _, n := range nodes {
		if err := met(ctx, n); err != nil {
			return nil, err
		}
	}
	d := topic.Definition{Audience: topic.Small}
	if s.Kind == "shoal-large" {
		d.Audience = topic.Large
	}
	if _, err := nodes[0].CreateTopic(ctx, "bench", d, 0); err != nil {
		return nil, err
	}
	const name = "bench"
	for i, n := range nodes[:subscribers] {
		t, err := n.Topics()
		if err != nil {
			return nil, err
		}
		var sub *pubsub.Subscription
		for end := time.Now().Add(joinWait); ; time.Sleep(50 * time.Millisecond) { // the owner's directory is new, too, and to be found
			if sub, err = t.Subscribe(ctx, name, pubsub.Start{}); err == nil {
				break
			} else if time.Now().After(end) {
				return nil, err
			}
		}
		g.add(sub.Close)
		go func() {
			for {
				e, err := sub.Next(life)
				if err != nil {
					return
				}
				if e.Gap == nil {
					deliver(i, e.Body)
				}
			}
		}()
	}
	t, err := nodes[subscribers].Topics()
	if err != nil {
		return nil, err
	}
	one := make([]topic.Message, 1)
	return &world{publish: func(ctx context.Context, b []byte) error {
		one[0] = topic.Message{Body: b}
		return t.Publish(ctx, name, one...)
	}, close: g.close}, nil
}

// met waits until a node takes the others for alive.
func met(ctx context.Context, n *node.Node) error {
	for end := time.Now().Add(joinWait); ; time.Sleep(20 * time.Millisecond) {
		peers, _, err := n.Peers(ctx, "")
		if err != nil {
			return err
		}
		alive := 0
		for _, p := range peers {
			if p.State == shoal.Alive {
				alive++
			}
		}
		if alive >= subscribers {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("node %s knows %d others", n.ID().Short(), alive)
		}
	}
}
