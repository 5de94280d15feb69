package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
)

// fleet is the demo's nodes. The first founds the fabric and coordinates the jobs.
type fleet struct {
	dir   string
	nodes []*node.Node // nil once killed
	names map[shoal.PeerID]string
	gpu   int // the node that has declared a graphics processor
	off   int // the one whose agents stay, whatever they read
}

// launch starts n nodes on loopback, in one fabric, and waits until each knows all.
func launch(ctx context.Context, n int, log *slog.Logger) (*fleet, error) {
	dir, err := os.MkdirTemp("", "shoal-demo-")
	if err != nil {
		return nil, err
	}
	f := &fleet{dir: dir, names: map[shoal.PeerID]string{}, gpu: n - 2, off: n - 1}
	var invite string
	for i := range n {
		c := node.Config{
			Dir: filepath.Join(dir, fmt.Sprintf("node%d", i)), Join: invite, Listen: []string{"/ip4/127.0.0.1/tcp/0"},
			NoMDNS: true, Slots: 1, NoGravity: i == f.off, Log: log,
		}
		if i == f.gpu {
			c.Devices = []shoal.GPU{declared}
		}
		nd, err := node.Open(ctx, c)
		if err != nil {
			f.close()
			return nil, err
		}
		f.nodes = append(f.nodes, nd)
		f.names[nd.ID()] = fmt.Sprintf("node %d", i)
		if i == 0 {
			if invite, err = nd.Invite(ctx, node.InviteOptions{}); err != nil {
				f.close()
				return nil, err
			}
		}
	}
	if err := f.settle(ctx); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// settle waits until every node knows every other, and suspects none.
func (f *fleet) settle(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		whole := !slices.ContainsFunc(f.nodes, func(n *node.Node) bool {
			peers, _, err := n.Peers(ctx, "")
			doubtful := func(p node.PeerInfo) bool { return p.State != shoal.Alive }
			return err != nil || len(peers) < len(f.nodes)-1 || slices.ContainsFunc(peers, doubtful) ||
				n.Status().Connected < len(f.nodes)-1
		})
		if whole {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return shoal.Wrap(shoal.Timeout, "the demo's nodes did not all find each other", ctx.Err())
		}
	}
}

// moved sums, over all live nodes, the bytes that the streams of one kind brought in.
func (f *fleet) moved() (t node.Traffic) {
	for _, n := range f.nodes {
		if n != nil {
			t = t.Plus(n.Traffic())
		}
	}
	return t
}

// kill ends a node as a power cut would: no goodbye.
func (f *fleet) kill(p shoal.PeerID) {
	for i, n := range f.nodes {
		if n != nil && n.ID() == p {
			n.Kill()
			f.nodes[i] = nil
		}
	}
}

func (f *fleet) close() {
	for _, n := range f.nodes {
		if n != nil {
			_ = n.Close()
		}
	}
	_ = os.RemoveAll(f.dir)
}

// partitionBytes cuts small folders finer than put does, so that every node has tasks: into about 60
// parts of 1 KiB to 4 MiB.
func partitionBytes(path string) (int64, error) {
	var total int64
	err := filepath.WalkDir(path, func(at string, e os.DirEntry, err error) error {
		switch {
		case err == nil && at != path && strings.HasPrefix(e.Name(), ".") && e.IsDir():
			return filepath.SkipDir
		case err != nil || !e.Type().IsRegular() || at != path && strings.HasPrefix(e.Name(), "."):
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return min(max(total/60, 1<<10), 4<<20), err
}

// check refuses a path that cannot be put, before any node is started.
func check(path string) error {
	if _, err := os.Stat(path); err != nil {
		why := err.Error()
		if errors.Is(err, os.ErrNotExist) {
			why = "no such file or folder"
		}
		return shoal.E(shoal.Invalid, "demo "+path, strings.TrimSpace(why), "name a file or folder to count the words of")
	}
	return nil
}
