package pubsub

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Bounds of one append: its request must be smaller than a message of an agent may be.
const (
	mostTogether  = 1000
	bytesTogether = 960 << 10
)

// gather brings messages into a durable topic's log, those that come while others are on their way together with the
// next, in the order in which they came.
type gather struct {
	life   context.Context
	work   *sync.WaitGroup
	append func(ctx context.Context, list []topic.Message) (first uint64, err error)

	mu     sync.Mutex
	queue  []*parcel
	flying bool
	last   int // parcels of the last flight
}

// parcel is what one caller publishes, and what came of it once done is closed.
type parcel struct {
	list []topic.Message
	size int
	done chan struct{}
	err  error
}

// put appends messages and fills in their offsets. The messages are the gatherer's until it returns nil; when ctx ends before, it is not known
// whether they are in the log.
func (g *gather) put(ctx context.Context, list []topic.Message) error {
	p := &parcel{list: list, done: make(chan struct{})}
	for i := range list {
		p.size += list[i].Size()
	}
	g.mu.Lock()
	g.queue = append(g.queue, p)
	if !g.flying {
		g.flying = true
		g.work.Go(g.fly)
	}
	g.mu.Unlock()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return shoal.Wrap(shoal.Timeout, "publish", ctx.Err())
	}
}

// Publishers whose messages went together hear of it together, and as a rule publish again at once: the first of them is not
// sent off alone, or every other flight would have one message.
const (
	gatherMost = 500 * time.Microsecond
	gatherStep = 30 * time.Microsecond
)

// wait returns when about as many wait as went together the last time, or soon.
func (g *gather) wait() {
	for end := time.Now().Add(gatherMost); ; {
		g.mu.Lock()
		n, want := len(g.queue), g.last-g.last/8
		g.mu.Unlock()
		if n >= want || want < 2 || !time.Now().Before(end) {
			return
		}
		time.Sleep(gatherStep)
	}
}

func (g *gather) fly() {
	for {
		g.wait()
		list := g.take()
		if list == nil {
			return
		}
		var all []topic.Message
		if len(list) == 1 {
			all = list[0].list
		} else {
			for _, p := range list {
				all = append(all, p.list...)
			}
		}
		first, err := g.append(g.life, all)
		for _, p := range list {
			if p.err = err; err == nil {
				for i := range p.list {
					p.list[i].Offset = first
					first++
				}
			}
			close(p.done)
		}
	}
}

// take returns what goes together; nil: nothing waits, and the flight is over.
func (g *gather) take() (list []*parcel) {
	g.mu.Lock()
	defer g.mu.Unlock()
	size, n := 0, 0
	for len(g.queue) > 0 {
		p := g.queue[0]
		if len(list) > 0 && (size+p.size > bytesTogether || n+len(p.list) > mostTogether) {
			break
		}
		size, n = size+p.size, n+len(p.list)
		list, g.queue = append(list, p), g.queue[1:]
	}
	if g.last = len(list); list == nil {
		g.flying, g.queue = false, nil
	}
	return list
}
