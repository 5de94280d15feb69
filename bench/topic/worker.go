package topic

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
)

// world is one publisher and its subscribers. publish may keep body; what is published may wait for a flush of its own.
type world struct {
	publish func(ctx context.Context, body []byte) error
	close   func()
}

// kinds make worlds; deliver is called by subscriber i for each message, one at a time.
var kinds = map[string]func(ctx context.Context, s setup, deliver func(i int, body []byte)) (*world, error){
	"shoal": shoalWorld, "shoal-large": shoalWorld, "gossipsub": gossipWorld, "nats": natsWorld,
}

// figures come of one measurement.
type figures struct {
	Messages int
	P50, P99 float64 // µs until the last subscriber
	Rate     float64 // deliveries/s
	Lost     float64 // share
}

// course is where the publisher and the subscribers are.
type course struct {
	w    *world
	body []byte
	next uint64 // number of the next message

	at   [subscribers]atomic.Uint64 // one more than the messages that each has got or that were given up
	past [subscribers]atomic.Uint64 // those before it are given up
	lost atomic.Uint64
	bad  atomic.Pointer[error]

	waits atomic.Uint64 // the publisher waits until all are there; 0: it does not
	wake  chan struct{}
}

func worker(ctx context.Context, s setup) (*rig.Worker, error) {
	c := &course{body: make([]byte, bodyBytes), next: 1, wake: make(chan struct{}, 1)}
	rng := rand.NewChaCha8([32]byte{byte(s.Seed), byte(s.Seed >> 8), 't', 'o', 'p'})
	rng.Read(c.body)
	for i := range c.at {
		c.at[i].Store(1)
	}
	kind, room := strings.CutSuffix(s.Kind, "-room")
	release := func() {}
	if room || strings.HasPrefix(kind, "shoal") {
		release = node.Headroom()
	}
	var err error
	if c.w, err = kinds[kind](ctx, s, c.deliver); err != nil {
		release()
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		c.w.close()
		release()
		return nil, err
	}
	return &rig.Worker{
		Ready: struct{}{},
		Close: func() { c.w.close(); release() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"latency": rig.Verb(c.latency), "rate": rig.Verb(c.rate),
		},
	}, nil
}

// begin waits until every subscriber hears the publisher.
func (c *course) begin(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); ; {
		err := c.say(ctx) // a node may not have found the topic yet
		time.Sleep(100 * time.Millisecond)
		if err == nil && c.least() == c.next {
			break
		}
		if err != nil {
			c.next--
		}
		if time.Now().After(end) {
			return errors.Join(err, fmt.Errorf("a subscriber is at %d of %d", c.least(), c.next))
		}
	}
	c.lost.Store(0)
	return nil
}

// deliver notes a message: gossipsub keeps no order, so messages are counted. What is not as it was said fails the measurement.
func (c *course) deliver(i int, body []byte) {
	seq := uint64(0)
	if len(body) == bodyBytes {
		seq = binary.LittleEndian.Uint64(body)
	}
	if seq == 0 || !bytes.Equal(body[8:], c.body[8:]) {
		err := fmt.Errorf("subscriber %d got something else than was said", i)
		c.bad.CompareAndSwap(nil, &err)
		return
	}
	if seq < c.past[i].Load() {
		return
	}
	at := c.at[i].Add(1)
	if w := c.waits.Load(); w != 0 && at >= w && c.least() >= w {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

func (c *course) least() uint64 {
	n := c.at[0].Load()
	for i := range c.at {
		n = min(n, c.at[i].Load())
	}
	return n
}

func (c *course) say(ctx context.Context) error {
	body := slices.Clone(c.body)
	binary.LittleEndian.PutUint64(body, c.next)
	c.next++
	return c.w.publish(ctx, body)
}

// wait waits until all subscribers have got what is before n, or gives that up for lost.
func (c *course) wait(n uint64) {
	for c.least() < n {
		c.waits.Store(n)
		if c.least() >= n {
			break
		}
		select {
		case <-c.wake:
		case <-time.After(250 * time.Millisecond):
			for i := range c.at {
				if at := c.at[i].Load(); at < n {
					c.past[i].Store(n)
					if c.at[i].CompareAndSwap(at, n) {
						c.lost.Add(n - at)
					}
				}
			}
		}
	}
	c.waits.Store(0)
}

func (c *course) check() error {
	if p := c.bad.Load(); p != nil {
		return *p
	}
	return nil
}

// latency says one message after the other.
func (c *course) latency(ctx context.Context, d time.Duration) (figures, error) {
	var times []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		begun := time.Now()
		if err := c.say(ctx); err != nil {
			return figures{}, err
		}
		c.wait(c.next)
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	us := func(k int) float64 { return float64(times[k].Nanoseconds()) / 1e3 }
	return figures{Messages: len(times), P50: us(len(times) / 2), P99: us(len(times) * 99 / 100)}, c.check()
}

// rate says as much as the window lets, for a tenth of d to warm up and then for d.
func (c *course) rate(ctx context.Context, d time.Duration) (figures, error) {
	first := c.next
	var f figures
	for _, d := range []time.Duration{d / 10, d} {
		c.lost.Store(0)
		from, begun := c.next, time.Now()
		for end := begun.Add(d); ; {
			if c.next%16 == 0 && time.Now().After(end) {
				break
			}
			if c.next > window {
				c.wait(c.next - window)
			}
			if err := c.say(ctx); err != nil {
				return f, err
			}
		}
		c.wait(c.next)
		n := float64(c.next-from) * subscribers
		f.Rate = (n - float64(c.lost.Load())) / time.Since(begun).Seconds()
		f.Lost = float64(c.lost.Load()) / n
	}
	f.Messages = int(c.next - first)
	return f, c.check()
}

// group closes things in the reverse of the order in which they came.
type group struct {
	mu   sync.Mutex
	ends []func()
}

func (g *group) add(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ends = append(g.ends, f)
}

func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range slices.Backward(g.ends) {
		f()
	}
	g.ends = nil
}
