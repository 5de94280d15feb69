package topic

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/gossip"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/members"
	"github.com/shoal-fabric/shoal/pubsub/cast"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/rpc"
	"github.com/shoal-fabric/shoal/storage"
)

// agent stands for the topic's agent, which is not on the way of messages.
type agent struct {
	topic.Definition
	mu   sync.Mutex
	list []topic.Presence
}

func (a *agent) View(ctx context.Context, key shoal.Key) (*topic.View, error) {
	return a.Join(ctx, key, topic.Presence{})
}

func (a *agent) Join(_ context.Context, _ shoal.Key, p topic.Presence) (*topic.View, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := p.Peer == ""
	v := &topic.View{Definition: a.Definition, Made: true, Version: 1}
	for _, q := range a.list {
		known = known || q.Peer == p.Peer && q.Publishes == p.Publishes
	}
	if !known {
		p.Number = uint64(len(a.list)) + 1
		a.list = append(a.list, p)
	}
	for _, q := range a.list {
		if q.Publishes {
			v.Pubs = append(v.Pubs, q)
		} else {
			v.Subs, v.Subscribed = append(v.Subs, q), v.Subscribed+1
		}
	}
	return v, nil
}

// shoalWorld wires the rooms that messages pass as package node does it.
func shoalWorld(ctx context.Context, s setup, deliver func(int, []byte)) (_ *world, err error) {
	g := &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	life, stop := context.WithCancel(context.Background())
	g.add(stop)
	a := &agent{}
	if s.Kind == "shoal-large" {
		a.Audience = topic.Large
	}
	var first *members.Members
	var casts []*cast.Cast
	key := shoal.NameKey("agent", "bench")
	for i := range subscribers + 1 {
		disk, err := storage.Open(filepath.Join(s.Dir, fmt.Sprint(i)), storage.Options{})
		if err != nil {
			return nil, err
		}
		g.add(func() { disk.Close() })
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		h, err := host.New(host.Config{Key: private, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			return nil, err
		}
		g.add(func() { h.Close() })
		m, err := members.New(members.Config{Key: private, Table: true}, members.Deps{Door: h, Network: h, KV: disk.KV("members")})
		if err != nil {
			return nil, err
		}
		h.SetAdmit(m.Admit)
		if first == nil {
			first, err = m, m.Found()
		} else {
			var invite string
			if invite, err = first.Invite(members.InviteOptions{TTL: time.Hour}); err == nil {
				err = m.Join(ctx, invite)
			}
		}
		if err != nil {
			return nil, err
		}
		r := rpc.New(h.Libp2p(), rpc.Config{Fabric: m.Fabric(), Connect: func(ctx context.Context, p shoal.PeerID) error {
			return h.Connect(ctx, p, m.Addresses(p))
		}})
		g.add(func() { r.Close() })
		m.Attach(r)
		mesh := gossip.New(h.Libp2p(), gossip.Config{Fabric: m.Fabric()})
		g.add(func() { mesh.Close() })
		c, err := cast.New(cast.Config{}, cast.Deps{Peers: r, Members: m, Topics: a, Gossip: mesh})
		if err != nil {
			return nil, err
		}
		g.add(func() { c.Close() })
		casts = append(casts, c)
		var ran sync.WaitGroup
		ran.Go(func() { _ = m.Run(life) })
		ran.Go(func() { _ = c.Run(life) })
		g.add(ran.Wait)
		g.add(stop)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // all know all
		if n := len(first.Table()); n == subscribers || time.Now().After(end) {
			break
		}
	}
	for i, c := range casts[:subscribers] {
		sub, err := c.Subscribe(ctx, key, cast.Start{})
		if err != nil {
			return nil, err
		}
		go func() {
			list := make([]cast.Event, window)
			for {
				n, err := sub.Batch(life, list)
				if err != nil {
					return
				}
				for k := range list[:n] {
					if list[k].Gap == nil {
						deliver(i, list[k].Body)
					}
				}
			}
		}()
	}
	pub := casts[subscribers]
	one := make([]topic.Message, 1)
	return &world{publish: func(ctx context.Context, b []byte) error {
		one[0] = topic.Message{Body: b}
		return pub.Publish(ctx, key, one...)
	}, close: g.close}, nil
}
