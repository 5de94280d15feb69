package cast

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// repeats is after how much silence a publisher says how far it is: its last words may be lost.
var repeats = []time.Duration{500 * time.Millisecond, 2 * time.Second, 8 * time.Second}

// tooOld is how much the clock of who says something may differ from that of who hears it.
const tooOld = time.Minute

// choose chooses this node's carrier by the audience. The lock is held.
func (l *line) choose() {
	large := l.large()
	switch {
	case l.c.Gossip == nil || l.view == nil || l.view.Audience == topic.Small:
		large = false
	case l.view.Audience == topic.Large || l.view.Subscribed > l.c.cfg.Up:
		large = true
	case l.view.Subscribed <= l.c.cfg.Down:
		large = false
	}
	if large && len(l.subs) > 0 {
		l.needed = l.c.cfg.Now()
		l.tuneIn()
	}
	if !l.publishing || large == l.large() {
		return
	}
	if l.turn++; !l.saying {
		l.said = l.ring.next
	}
	l.turned = l.c.cfg.Now()
	if large {
		l.tuneIn()
		l.c.spawn(func(ctx context.Context) { // have those who follow listen to gossip
			select {
			case <-time.After(l.c.cfg.Grace):
			case <-ctx.Done():
			}
			l.mu.Lock()
			l.more.Broadcast()
			l.mu.Unlock()
		})
		if !l.saying {
			l.saying = true
			l.c.spawn(l.say)
		}
	} else {
		l.greeted = false
		view := l.view
		l.c.spawn(func(ctx context.Context) { l.greet(ctx, view) })
	}
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// tuneIn joins the gossip of the topic. The lock is held.
func (l *line) tuneIn() {
	if l.channel != nil || l.joining || l.c.Gossip == nil || l.over {
		return
	}
	l.joining = true
	l.needed = l.c.cfg.Now()
	l.c.spawn(func(context.Context) {
		ch, err := l.c.Gossip.Join(fmt.Sprintf("topic/%x", string(l.key)), l.judge, l.overhear)
		l.mu.Lock()
		l.joining = false
		if err == nil && !l.over {
			l.channel, ch = ch, nil
		}
		l.mu.Unlock()
		if ch != nil {
			_ = ch.Close()
		}
		if err != nil {
			l.c.log().Warn("topics: the gossip of a topic cannot be joined", "err", err)
		}
		select {
		case l.poke <- struct{}{}:
		default:
		}
	})
}

// say says this node's messages by gossip, until streams carry them again and for a while longer, and how far it is whenever it
// has been silent.
func (l *line) say(ctx context.Context) {
	quiet, turn := 0, uint64(0) // how often it has said how far it is; the last carrier it told of
	timer := time.NewTimer(repeats[0])
	defer timer.Stop()
	var out []byte
	var last time.Time // when it last said something: what comes soon after gathers
	for again := false; ; {
		l.mu.Lock()
		ch, now := l.channel, l.c.cfg.Now()
		words := l.large() || now.Before(l.turned.Add(l.c.cfg.Grace))
		f := l.bare(l.ring.next)
		if words {
			f = l.frame(l.said, maxBody)
		}
		news := f.Count > 0 || l.turn != turn
		if l.over || !words && !news && quiet >= len(repeats) {
			l.saying = false
			l.mu.Unlock()
			return
		}
		if ch != nil {
			l.said, turn = f.First+uint64(f.Count), f.Turn
		}
		l.mu.Unlock()
		if ch != nil && (news || again) {
			out = appendEnvelope(out[:0], l.key, now.UnixMilli(), &f)
			last = time.Now()
			if err := ch.Publish(ctx, out); err != nil && ctx.Err() == nil {
				l.c.log().Debug("topics: gossip did not take messages", "err", err)
			}
			if quiet++; news {
				quiet = 0
			}
			timer.Reset(repeats[min(quiet, len(repeats)-1)])
			if f.Count > 0 {
				again = false
				continue // there may be more
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			again = quiet < len(repeats)
			if !again || ch == nil {
				timer.Reset(repeats[len(repeats)-1])
			}
		case <-l.poke:
			again = false
			select {
			case <-time.After(l.c.cfg.Gather - time.Since(last)):
			case <-ctx.Done():
				return
			}
		}
	}
}

// judge says what becomes of an envelope.
func (l *line) judge(from shoal.PeerID, b []byte) Verdict {
	key, at, f, err := parseEnvelope(b)
	now := l.c.cfg.Now()
	if err != nil || key != l.key || !l.c.member(from) {
		return Reject
	}
	if d := now.Sub(time.UnixMilli(at)); d > tooOld || d < -tooOld {
		return Reject
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[from]
	if s == nil || s.life == nil {
		return Accept
	}
	if f.Epoch < s.life.epoch {
		return Ignore
	}
	if f.Count > 0 && f.Epoch == s.life.epoch {
		last := f.First + uint64(f.Count)
		if slices.Contains(s.said[:], last) {
			return Ignore
		}
		s.said[s.saidAt%len(s.said)] = last
		s.saidAt++
	}
	return Accept
}

// overhear takes in an envelope.
func (l *line) overhear(from shoal.PeerID, b []byte) {
	_, _, f, err := parseEnvelope(slices.Clone(b))
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.subs) == 0 || l.over {
		return
	}
	l.needed = l.c.cfg.Now()
	s := l.sources[from]
	if s == nil { // the topic's agent says where this node begins with it
		l.refresh()
		return
	}
	s.take(&f, false)
}
