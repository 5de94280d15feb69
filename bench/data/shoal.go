package data

import (
	"context"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
)

const settle = 20 * time.Second // for two nodes to know each other

func open(ctx context.Context, dir, invite string) (*node.Node, error) {
	return node.Open(ctx, node.Config{
		Dir: dir, Join: invite, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true,
	})
}

// holdShoal puts all files before there is another member, so that they lie here and nowhere else.
func holdShoal(ctx context.Context, s setup) (*holder, error) {
	n, err := open(ctx, s.Dir, "")
	if err != nil {
		return nil, err
	}
	h := &holder{close: func() { n.Close() }}
	for _, file := range s.Files {
		res, err := n.Put(ctx, file, data.PutOptions{Replicas: 1})
		if err != nil {
			n.Close()
			return nil, err
		}
		h.ready.Roots = append(h.ready.Roots, res.Manifest.Root.String())
	}
	h.ready.Address, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour})
	return h, err
}

func fetchShoal(ctx context.Context, s setup) (*fetcher, error) {
	n, err := open(ctx, s.Dir, s.Address)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(settle); n.Status().Members < 2 || n.Status().Connected < 1; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.Close()
			return nil, fmt.Errorf("the nodes have not met within %v", settle)
		}
	}
	return &fetcher{
		fetch: func(ctx context.Context, name, into string) error {
			root, err := cid.Decode(name)
			if err != nil {
				return err
			}
			got, err := n.Get(ctx, root, "", into, data.GetOptions{})
			if err == nil && got.Moved < s.Bytes {
				err = fmt.Errorf("%d bytes moved: the rest was here already", got.Moved)
			}
			return err
		},
		clean: func(ctx context.Context) error {
			_, _, err := n.GC(ctx)
			if shoal.KindOf(err) == shoal.Unavailable {
				return nil
			}
			return err
		},
		close: func() { n.Close() },
	}, nil
}
