package topicdurable

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// order is to have publishers publish for a while.
type order struct {
	Publishers int
	Time       time.Duration
}

// publishing is publishers who number what they publish, and remember what was acknowledged.
type publishing struct {
	next  [publishers]uint64
	acked [publishers]atomic.Uint64
	fill  [body]byte
}

func newPublishing() *publishing {
	p := &publishing{}
	rng := rand.New(rand.NewPCG(1, 'b'))
	for i := range p.fill { // nothing that a disk or a line could compress
		p.fill[i] = byte(rng.Uint32())
	}
	return p
}

// ring has the first publishers publish, each as soon as its last message was acknowledged.
func (p *publishing) ring(ctx context.Context, o order, publish func(ctx context.Context, body []byte) error) (rig.Figures, error) {
	all := make([]func(context.Context) error, o.Publishers)
	for i := range all {
		all[i] = func(ctx context.Context) error {
			b := make([]byte, body)
			copy(b, p.fill[:])
			p.next[i]++
			binary.BigEndian.PutUint64(b, uint64(i))
			binary.BigEndian.PutUint64(b[8:], p.next[i])
			if err := publish(ctx, b); err != nil {
				return err
			}
			p.acked[i].Store(p.next[i])
			return nil
		}
	}
	return rig.Ring(ctx, o.Time, all)
}

// check looks whether a log has all that was acknowledged, in each publisher's order, and returns how many that are.
func (p *publishing) check(each func(see func(body []byte) error) error) (n int, err error) {
	var seen [publishers]uint64
	err = each(func(b []byte) error {
		if len(b) != body {
			return fmt.Errorf("a message of %d bytes", len(b))
		}
		who, seq := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		if who >= publishers || seq != seen[who]+1 {
			return fmt.Errorf("publisher %d's message %d comes after %d", who, seq, seen[min(who, publishers-1)])
		}
		seen[who] = seq
		n++
		return nil
	})
	for i := range seen {
		if acked := p.acked[i].Load(); err == nil && seen[i] < acked {
			err = fmt.Errorf("of publisher %d the log has %d messages, and %d were acknowledged", i, seen[i], acked)
		}
	}
	return n, err
}
