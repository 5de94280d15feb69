package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/state/merge"
)

// power is a table on a disk that forgets, when the power is cut, what was not synced; of that a part from the beginning may be there.
type power struct {
	*shoaltest.Table // as whoever runs sees it
	roll             func(n int) int

	mu      sync.Mutex
	disk    *shoaltest.Table
	pending [][]shoal.Write
	off     bool
	fuse    func() // the next sync does not come to its end, and this is called; nil: it does
}

func newPower(roll func(int) int) *power {
	return &power{Table: shoaltest.NewTable(), disk: shoaltest.NewTable(), roll: roll}
}

// Commit implements shoal.Table. It takes no time, as others wait for a lock meanwhile.
func (p *power) Commit(sync bool, batch ...shoal.Write) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return shoal.E(shoal.Internal, "disk", "there is no power", "")
	}
	p.pending = append(p.pending, slices.Clone(batch))
	_ = p.Table.Commit(false, batch...)
	if !sync {
		return nil
	}
	if p.fuse != nil {
		p.off = true
		p.fuse()
		return shoal.E(shoal.Internal, "disk", "there is no power", "")
	}
	for _, b := range p.pending {
		_ = p.disk.Commit(true, b...)
	}
	p.pending = nil
	return nil
}

// cut takes the power, and returns the disk as the next life finds it.
func (p *power) cut() *power {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
	for _, b := range p.pending {
		if p.roll(2) == 0 {
			break
		}
		_ = p.disk.Commit(true, b...)
	}
	next := newPower(p.roll)
	snap, _ := p.disk.Snapshot()
	for pair := range snap.Scan(nil, nil) {
		w := shoal.Write{Key: pair.Key, Value: pair.Value}
		_, _ = next.disk.Commit(true, w), next.Table.Commit(true, w)
	}
	return next
}

// chaos is a world in which messages are lost, late, doubled and out of order, nodes lose their power, and disks are lost.
type chaos struct {
	*world
	mu    sync.Mutex
	r     *rand.Rand
	power map[shoal.PeerID]*power

	round  int
	next   int
	flying map[int]bool     // changes that are being made
	blown  map[int]bool     // those that were, when disks were lost: what is said of them then is no promise
	acked  map[string]int   // element of a change that was acknowledged, and on how many disks; those of earlier rounds: on all
	sum    map[string]int64 // of those, what they added
	made   int64            // added by all that were tried
	late   sync.WaitGroup
}

func (c *chaos) roll(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}

func (c *chaos) pick() *node { return c.nodes[c.roll(len(c.nodes))] }

// change makes one of several in the background.
func (c *chaos) change(all *sync.WaitGroup) {
	n, copies, by := c.pick(), 1+c.roll(3), int64(c.roll(5))
	c.mu.Lock()
	id := c.next
	c.next++
	c.flying[id] = true
	c.made += by
	c.mu.Unlock()
	item := fmt.Sprintf("%d.%d", c.round, id)
	list := []Change{
		{Name: "acked", Kind: merge.GrowSet, Verb: Insert, Item: item},
		add("sum", by),
		{Name: "set", Verb: Insert, Item: fmt.Sprint(c.roll(5))},
		{Name: "reg", Field: fmt.Sprint(c.roll(2)), Verb: Put, Text: []byte(item)},
	}
	if c.roll(3) == 0 {
		list = append(list, Change{Name: "set", Verb: Remove, Item: fmt.Sprint(c.roll(5))})
	}
	s := n.State
	all.Go(func() {
		ctx, cancel := context.WithTimeout(bg, 3*time.Second)
		defer cancel()
		d := s.Draft(false) // as programs do, on one disk; or as people do
		var err error
		if copies == 1 {
			for _, ch := range list {
				if err := d.Change(ch); err != nil {
					c.t.Errorf("%+v: %v", ch, err)
				}
			}
			err = d.Commit(ctx)
		} else {
			err = s.Change(ctx, copies, list[:4]...)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.flying, id)
		if err == nil && !c.blown[id] {
			c.acked[item], c.sum[item] = copies, by
		}
	})
}

// crash has nodes lose their power at once, and come back after a while; with lost their disks are gone.
func (c *chaos) crash(lost bool, list ...*node) {
	if lost {
		c.mu.Lock()
		for id := range c.flying {
			c.blown[id] = true
		}
		for item, copies := range c.acked {
			if copies <= len(list) {
				delete(c.acked, item)
				delete(c.sum, item)
			}
		}
		c.mu.Unlock()
	}
	if !lost && c.roll(2) == 0 { // in the middle of a sync
		for _, n := range list {
			p := c.power[n.id]
			p.mu.Lock()
			p.fuse = n.at.Stop
			p.mu.Unlock()
		}
		time.Sleep(time.Duration(c.roll(100)) * time.Millisecond)
	}
	for _, n := range list {
		c.power[n.id] = c.power[n.id].cut()
		if lost {
			c.power[n.id] = newPower(c.roll)
		}
		n.at.Stop()
	}
	for _, n := range list {
		n.down()
	}
	time.Sleep(time.Duration(c.roll(2000)) * time.Millisecond)
	for _, n := range list {
		n.disk = c.power[n.id]
		n.up()
	}
}

// again has a message come again, later than others that were sent after it.
func (c *chaos) again(n *node) func(to shoal.PeerID, method string, b []byte) {
	return func(to shoal.PeerID, method string, b []byte) {
		if c.roll(4) > 0 {
			return
		}
		at := n.at
		c.late.Go(func() {
			time.Sleep(time.Duration(c.roll(3000)) * time.Millisecond)
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			_, _ = at.Node.Ask(ctx, to, method, b)
		})
	}
}

func (c *chaos) faults() {
	a, b := c.pick(), c.pick()
	if a == b {
		return
	}
	switch c.roll(4) {
	case 0:
		c.net.Cut(a.id, b.id)
	case 1: // one side alone, for a while
		for _, n := range c.nodes {
			if n != a {
				c.net.Cut(a.id, n.id)
				c.net.Cut(n.id, a.id)
			}
		}
	default:
		c.net.Drop(a.id, b.id, float64(c.roll(100))/100)
		c.net.Delay(a.id, b.id, time.Duration(c.roll(400))*time.Millisecond)
	}
}

func (c *chaos) heal() {
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			if a != b {
				c.net.Heal(a.id, b.id)
				c.net.Drop(a.id, b.id, 0)
				c.net.Delay(a.id, b.id, 0)
			}
		}
	}
}

// TestWorld: whatever happens to messages and to the power, and when up to two disks are lost at once, what was acknowledged on more
// disks than that is there, on all nodes, and all agree.
func TestWorld(t *testing.T) {
	for i := range max(1, *seeds/3) { // they are long
		n := *seed + uint64(i)
		if !t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { runWorld(t, rand.New(rand.NewPCG(n, 7))) })
		}) {
			t.Fatalf("replay with -run TestWorld -seed %d -seeds 1", n)
		}
	}
}

func runWorld(t *testing.T, r *rand.Rand) {
	c := &chaos{
		world: newWorld(t, 0), r: r, power: map[shoal.PeerID]*power{}, flying: map[int]bool{}, blown: map[int]bool{}, acked: map[string]int{},
		sum: map[string]int64{},
	}
	c.cfg.Fanout = 1 + r.IntN(8)
	c.doubles = c.again
	for i := range 3 + r.IntN(3) {
		c.power[shoal.PeerID(fmt.Sprintf("peer-%02d", i))] = newPower(c.roll)
		c.add(c.power[shoal.PeerID(fmt.Sprintf("peer-%02d", i))])
	}
	defer c.late.Wait()
	defer c.close()
	for c.round = range 3 {
		var all sync.WaitGroup
		blow := 10 + c.roll(30)
		for step := range 60 {
			switch {
			case step == blow:
				k := 1 + c.roll(2)
				from := c.roll(len(c.nodes))
				var list []*node
				for i := range k {
					list = append(list, c.nodes[(from+i)%len(c.nodes)])
				}
				c.crash(true, list...)
			case c.roll(12) == 0:
				c.crash(false, c.pick())
			case c.roll(6) == 0:
				c.faults()
			case c.roll(8) == 0:
				c.heal()
			case c.roll(10) == 0:
				time.Sleep(time.Duration(c.roll(3000)) * time.Millisecond)
			default:
				c.change(&all)
				time.Sleep(time.Duration(c.roll(20)) * time.Millisecond)
			}
		}
		c.heal()
		all.Wait()
		c.agree(time.Minute)
		var least int64
		for item, by := range c.sum {
			if c.acked[item] = len(c.nodes); !slices.Contains(c.items("acked"), item) {
				t.Fatalf("round %d: a change was acknowledged, and is not there: %s", c.round, item)
			}
			least += by
		}
		if got := c.nodes[0].number(t, "sum"); got < least || got > c.made {
			t.Fatalf("round %d: the sum is %d, and %d to %d were added", c.round, got, least, c.made)
		}
		if len(c.acked) < 10*(c.round+1) {
			t.Logf("round %d: %d changes were acknowledged in all", c.round, len(c.acked))
		}
	}
}

// items are the elements of a set, which all nodes have.
func (c *chaos) items(name string) []string {
	list, _ := c.nodes[0].Get(name)
	if len(list) == 0 {
		return nil
	}
	return list[0].Items
}
