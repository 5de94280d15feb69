package demo

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/node"
)

// Counter is an agent that is hammered from every node while the node on which it lives is killed.
type Counter struct {
	Killed       string   `json:"killed"`
	Keepers      []string `json:"keepers"`
	Acknowledged int      `json:"acknowledged"` // increments
	Unknown      int      `json:"unknown"`      // increments whose callers do not know what came of them
	Final        int      `json:"final"`
	GapSeconds   float64  `json:"gap_s"`       // the longest time without an acknowledgement
	EpochBefore  uint64   `json:"epoch"`       // of the activation that was killed
	EpochAfter   uint64   `json:"epoch_after"` // of the one that followed
	MovedTo      string   `json:"moved_to"`
}

const (
	counterName = "demo-hits"
	hammer      = 700 * time.Millisecond // before the kill, and after the first acknowledgement that follows it
)

// counter makes an agent that counts, has every node call it, kills the node it lives on, and looks whether all
// that was acknowledged was counted.
func (d *run) counter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	live := slices.DeleteFunc(slices.Clone(d.f.nodes), func(n *node.Node) bool { return n == nil })
	maker := live[len(live)-1] // not the first, which tells the story
	made, err := maker.CreateAgent(ctx, "example:counter", cid.Undef, agents.CreateOptions{Name: counterName})
	if err != nil {
		return err
	}
	key := made.Key // two of five nodes are lost in all, and with them the directory perhaps: a key needs none
	if _, err := maker.CallAgent(ctx, key, shoal.CallRequest{Method: "get"}); err != nil {
		return err
	}
	was, err := maker.ShowAgent(ctx, key)
	if err != nil {
		return err
	}
	c := &d.r.Counter
	c.EpochBefore, c.Killed = was.Epoch, d.f.names[was.Leader]
	for _, k := range was.Keepers {
		c.Keepers = append(c.Keepers, d.f.names[k])
	}
	finish, err := d.stream(ctx, live, was.Leader)
	if err != nil {
		return err
	}
	acks := make(chan bool, 64) // false: unknown
	work, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for _, n := range live {
		if n.ID() == was.Leader {
			continue // its callers die with it
		}
		for range 2 {
			wg.Go(func() {
				for work.Err() == nil {
					_, err := n.CallAgent(ctx, key, shoal.CallRequest{Method: "add"})
					acks <- err == nil
				}
			})
		}
	}
	go func() {
		wg.Wait()
		close(acks)
	}()
	kill, end := time.After(hammer), (<-chan time.Time)(nil)
	last, gap, dead := time.Now(), time.Duration(0), false
	for open := true; open; {
		select {
		case ok, more := <-acks:
			switch {
			case !more:
				open = false
			case ok:
				c.Acknowledged++
				if pause := time.Since(last); pause > gap {
					gap = pause
				}
				last = time.Now()
				if dead && end == nil && gap > 100*time.Millisecond {
					end = time.After(hammer)
				}
				d.s.running("   %d acknowledged", c.Acknowledged)
			default:
				c.Unknown++
			}
		case <-kill:
			d.f.kill(was.Leader)
			dead = true
		case <-end:
			stop()
		}
	}
	c.GapSeconds = gap.Seconds()
	out, err := live[0].CallAgent(ctx, key, shoal.CallRequest{Method: "get", Read: true})
	if err != nil {
		return shoal.Wrap(shoal.Internal, "demo: the counter after the loss of its node", err)
	}
	if c.Final, err = strconv.Atoi(string(out)); err != nil {
		return fmt.Errorf("demo: the counter says %q", out)
	}
	now, err := live[0].ShowAgent(ctx, key)
	if err != nil {
		return err
	}
	c.EpochAfter, c.MovedTo = now.Epoch, d.f.names[now.Leader]
	if err := finish(); err != nil {
		return err
	}
	d.s.counted(*c)
	d.s.streamed(d.r.Stream)
	return nil
}

func (s *story) counted(c Counter) {
	s.say("")
	s.say("7. An agent counts: called from every node, while the one it lives on is killed")
	s.say("   lived on %s in epoch %d, kept by %d nodes; goes on on %s in epoch %d", c.Killed, c.EpochBefore, len(c.Keepers), c.MovedTo, c.EpochAfter)
	s.say("   %d increments acknowledged, %d counted; %.1f s without service", c.Acknowledged, c.Final, c.GapSeconds)
	if c.Unknown > 0 {
		s.say("   %d more were asked for whose callers do not know what came of them", c.Unknown)
	}
}
