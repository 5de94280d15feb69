package agents

import (
	"fmt"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// sessions numbers this node's calls, within a session for each agent.
type sessions struct {
	mu     sync.Mutex
	unique string
	made   uint64
	list   map[shoal.Key]*callSession
}

type callSession struct {
	name string
	last uint64
	open map[uint64]bool // not answered yet
	done uint64          // all numbers below have their replies
	used time.Time
}

const maxSessions = 1 << 14

// request names the next call of an agent; done must be called when its outcome is known to the caller.
func (s *sessions) request(key shoal.Key, now time.Time) (r turn.Request, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs := s.list[key]
	if cs != nil && now.Sub(cs.used) > turn.Retention/2 {
		cs = nil
	}
	if cs == nil {
		if len(s.list) >= maxSessions {
			for k, old := range s.list { // any that waits for nothing
				if len(old.open) == 0 {
					delete(s.list, k)
					break
				}
			}
		}
		s.made++
		cs = &callSession{name: turn.Session(now.UnixMilli(), fmt.Sprintf("%s.%d", s.unique, s.made)), done: 1, open: map[uint64]bool{}}
		s.list[key] = cs
	}
	cs.used = now
	cs.last++
	n := cs.last
	cs.open[n] = true
	return turn.Request{Session: cs.name, Number: n, Done: cs.done}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(cs.open, n)
		for cs.done <= cs.last && !cs.open[cs.done] {
			cs.done++
		}
	}
}
