package state

import (
	"context"
	"log/slog"
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

// State is a node's part in the fabric's mergeable state. Its methods may be called from many goroutines.
type State struct {
	Deps
	cfg   Config
	log   *slog.Logger
	queue chan *request
	life  context.Context
	end   context.CancelFunc
	done  chan struct{}

	// Whoever has mu for reading sees what is on disk, and nothing else; who has doing for reading alone may see what is still on its way.
	mu    sync.RWMutex
	doing sync.RWMutex
	space *merge.Space

	hearing sync.Mutex
	known   map[shoal.PeerID]merge.Seen // what members have on their disks, as they last said
	moved   chan struct{}               // closed when something was written, here or, as far as is known, elsewhere
	own     bool                        // news are this node's own: others' were told by those
	poke    chan struct{}               // there are news to tell
}

// request is something to do with the space; what it did is on disk when done says so.
type request struct {
	do   func(*merge.Space) error
	err  error
	own  bool
	done chan struct{}
}

// New reads what earlier lives of this node kept, and registers its methods. Run tells others and hears them.
func New(cfg Config, d Deps) (*State, error) {
	space, err := load(d.Table)
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &State{
		Deps: d, cfg: cfg, log: cfg.Log, space: space, queue: make(chan *request, 1024), done: make(chan struct{}),
		known: map[shoal.PeerID]merge.Seen{}, moved: make(chan struct{}), poke: make(chan struct{}, 1),
	}
	s.life, s.end = context.WithCancel(context.Background())
	go s.write()
	d.Peers.Handle("state.sync", s.onSync)
	d.Peers.HandleStream("state.all", s.onAll)
	return s, nil
}

// Close ends the writing; what was acknowledged is on disk.
func (s *State) Close() error {
	s.end()
	<-s.done
	return nil
}

// write does what is asked for, as much at a time as waits: it shares one sync.
func (s *State) write() {
	defer close(s.done)
	for {
		var batch []*request
		select {
		case r := <-s.queue:
			batch = append(batch, r)
		case <-s.life.Done():
			return
		}
		for more := true; more && len(batch) < cap(s.queue); {
			select {
			case r := <-s.queue:
				batch = append(batch, r)
			default:
				more = false
			}
		}
		own, wrote := s.writeBatch(batch)
		for _, r := range batch {
			close(r.done)
		}
		if wrote {
			s.wrote(own)
		}
	}
}

// writeBatch applies requests and brings what they did to disk. If that fails none has happened.
func (s *State) writeBatch(batch []*request) (own, wrote bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing.Lock()
	for _, r := range batch {
		r.err = r.do(s.space)
	}
	rows, marks, news := s.space.Drain()
	s.doing.Unlock()
	if len(rows)+len(marks) == 0 {
		return false, false
	}
	err := s.Table.Commit(true, writes(rows, marks)...)
	if err == nil {
		for _, r := range batch {
			own = own || r.own && r.err == nil
		}
		return own, len(news) > 0
	}
	err = shoal.Wrap(shoal.Internal, "write state", err)
	for _, r := range batch {
		r.err = err
	}
	s.doing.Lock()
	defer s.doing.Unlock()
	if old, e := load(s.Table); e == nil {
		s.space = old
	} else { // nothing that is in memory may be told
		s.log.Error("state cannot be read again", "err", e)
		s.space = merge.New(s.space.Self())
		s.end()
	}
	return false, false
}

// do has the writer do something, and waits until that is on disk.
func (s *State) do(ctx context.Context, own bool, f func(*merge.Space) error) error {
	r := &request{do: f, own: own, done: make(chan struct{})}
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return shoal.Wrap(shoal.Canceled, "state", ctx.Err())
	case <-s.life.Done():
		return shoal.E(shoal.Unavailable, "state", "the node is about to stop", "")
	}
	select {
	case <-r.done:
		return r.err
	case <-s.done:
		select {
		case <-r.done:
			return r.err
		default:
			return shoal.E(shoal.Unavailable, "state", "the node is about to stop", "")
		}
	}
}

// wrote tells whoever waits, and has news told.
func (s *State) wrote(own bool) {
	s.hearing.Lock()
	s.own = s.own || own
	s.move()
	s.hearing.Unlock()
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// move wakes whoever waits for something. The lock is held.
func (s *State) move() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// peek shows what is going to be there, unless the disk refuses it: for what is looked at again when it is made.
func (s *State) peek(f func(*merge.Space)) {
	s.doing.RLock()
	defer s.doing.RUnlock()
	f(s.space)
}

// view is for reading.
func (s *State) view(f func(*merge.Space)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.space)
}
