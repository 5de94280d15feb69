package data

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// source is one peer that a fetch reads from: a stream, on which requests run ahead of the answers
// by a window of bytes.
type source struct {
	f    *fetch
	peer shoal.PeerID
	far  time.Duration // its round trip as it was when it became one
	room chan struct{} // tells write that there is room again

	// Guarded by f.mu.
	running     bool
	dead        bool
	outstanding int  // items asked for and not yet answered
	bytes       int  // of them
	full        bool // write waits for room
}

// roomy reports whether s should be asked for more: for a quarter of its window, rather than for one block
// whenever one has come. The caller holds mu.
func (s *source) roomy() bool { return s.bytes <= s.f.d.cfg.Window/4*3 }

// run asks for items and reads answers until the fetch ends or the source fails.
func (s *source) run() {
	err := s.converse()
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s.running = false
	if err != nil && f.ctx.Err() == nil && !f.closed {
		f.d.log.Debug("a source failed", "fetch", f.what, "peer", s.peer, "err", err)
		s.dead, f.last = true, theirs(s.peer, err)
	}
	f.enlist()
	f.changed()
}

// die takes a source out of the fetch.
func (s *source) die(err error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.dead, s.f.last = true, theirs(s.peer, err)
	s.f.changed()
}

// theirs is an error of a peer as seen from here: that its own work was cut short, because it stops,
// is no end of ours.
func theirs(p shoal.PeerID, err error) error {
	switch shoal.KindOf(err) {
	case shoal.Canceled, shoal.Timeout, shoal.Internal:
		return &shoal.Error{
			Kind: shoal.Unavailable, What: "peer " + p.Short(), Why: "it broke off: " + err.Error(), Err: err,
		}
	}
	return err
}

// dial opens a stream to a source, which breaks when ctx ends or the watchdog bites. If there are others to turn to, it does not take longer than a
// source may be silent. end is called when it is not needed any more.
func (f *fetch) dial(ctx context.Context, p shoal.PeerID) (st shoal.Stream, dog *watchdog, end func(), err error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream, too
	var late *time.Timer
	if f.stall < f.d.cfg.Stall {
		late = time.AfterFunc(f.stall, cancel)
	}
	st, err = f.d.Peers.Open(ctx, p, f.class.method(), nil)
	switch {
	case late != nil && !late.Stop():
		if err == nil {
			st.Reset()
		}
		cancel()
		return nil, nil, nil, shoal.Wrap(shoal.Unavailable, "fetch", errStalled)
	case err != nil:
		cancel()
		return nil, nil, nil, err
	}
	over := context.AfterFunc(ctx, st.Reset)
	dog = newWatchdog(f.stall, st)
	return st, dog, func() {
		dog.stop()
		over()
		st.Reset()
		cancel()
	}, nil
}

func (s *source) converse() error {
	f := s.f
	st, dog, end, err := f.dial(f.ctx, s.peer)
	if err != nil {
		return err
	}
	defer end()

	queue := make(chan []*item, 64) // requests on their way; answers come in this order
	failed := make(chan error, 1)
	go func() { failed <- s.read(st, queue, dog) }()
	err = s.write(st, queue, dog)
	close(queue)
	if err != nil {
		st.Reset()
	} else {
		err = st.CloseWrite()
	}
	if readErr := <-failed; readErr != nil {
		err = readErr
	}
	return dog.explain(err)
}

// write sends requests while there is room in the window. It returns nil when the fetch needs the
// source no more.
func (s *source) write(st shoal.Stream, queue chan<- []*item, dog *watchdog) error {
	f := s.f
	for {
		f.mu.Lock()
		wake := f.wake
		idle := f.closed || f.err != nil || s.dead
		var items []*item
		s.full = !s.roomy() || len(queue) == cap(queue)
		if !idle && !s.full {
			items = f.next(s, min(f.d.cfg.Window/4, f.d.cfg.Window-s.bytes))
			for _, it := range items {
				s.bytes += it.size
			}
			if len(items) > 0 && s.outstanding == 0 {
				dog.feed()
			}
			s.outstanding += len(items)
			f.hungry = f.hungry || len(items) == 0
		}
		f.mu.Unlock()
		if idle {
			return nil
		}
		if len(items) == 0 {
			select {
			case <-wake:
			case <-s.room:
			case <-dog.bitten:
				return errStalled
			case <-f.ctx.Done():
				return f.ctx.Err()
			}
			continue
		}
		queue <- items
		q := pieces.Want{Blocks: make([][]byte, len(items))}
		for i, it := range items {
			q.Blocks[i] = it.cid.Bytes()
		}
		if err := wire.WriteFrame(st, wire.Marshal(q), pieces.MaxWantLen); err != nil {
			return err
		}
	}
}

// read takes answers in the order of the requests.
func (s *source) read(st shoal.Stream, queue <-chan []*item, dog *watchdog) (err error) {
	f := s.f
	answers := pieces.NewReader(st, &f.d.buffers)
	for items := range queue {
		for i, it := range items {
			var b shoal.Block
			if err == nil {
				b, err = s.answer(answers, it)
			}
			if err != nil {
				s.lost(items[i:], err)
				break
			}
			f.mu.Lock()
			s.outstanding--
			s.bytes -= it.size
			if b.Data != nil {
				f.moved += uint64(len(b.Data))
			} else {
				f.putBack(it, s)
			}
			if s.outstanding > 0 {
				dog.feed()
			} else {
				dog.rest()
			}
			if b.Data == nil || s.outstanding == 0 {
				f.changed()
			} else if s.full && s.roomy() {
				s.full = false
				select {
				case s.room <- struct{}{}:
				default:
				}
			}
			f.mu.Unlock()
			if b.Data != nil {
				err = f.deliver(b)
			}
		}
		if err != nil {
			st.Reset()
		}
	}
	return err
}

// answer reads the answer for one item; no data: the source lacks it.
func (s *source) answer(answers *pieces.Reader, it *item) (b shoal.Block, err error) {
	a, err := answers.Next()
	switch {
	case err != nil:
		return b, err
	case a.Kind == pieces.End || !a.CID.Equals(it.cid):
		return b, shoal.E(shoal.Invalid, s.f.what, "peer "+s.peer.Short()+" answered something else", "")
	case a.Kind == pieces.Missing:
		if len(a.Data) > 0 {
			s.f.spoil(shoal.E(shoal.Corrupt, "peer "+s.peer.Short(), strings.ToValidUTF8(string(a.Data), "?"), ""))
		}
		return b, nil
	case !a.True:
		s.f.d.buffers.Put(a.Data)
		admitted, err := s.f.d.wrong(s.f.ctx, s.peer, a.CID)
		if admitted { // as good as missing
			s.f.spoil(shoal.Wrap(shoal.Corrupt, "peer "+s.peer.Short(), err))
			err = nil
		}
		return b, err
	}
	return shoal.Block{CID: a.CID, Data: a.Data}, nil
}

// lost gives items back that were asked for, because the source failed.
func (s *source) lost(items []*item, err error) {
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s.dead, f.last = true, theirs(s.peer, err)
	for _, it := range items {
		s.outstanding--
		s.bytes -= it.size
		f.putBack(it, s)
	}
	f.enlist()
	f.changed()
}

// putBack queues an item again, for others than s. The caller holds mu.
func (f *fetch) putBack(it *item, s *source) {
	if it.tried == nil {
		it.tried = map[*source]bool{}
	}
	it.tried[s] = true
	f.anyone.items = append(f.anyone.items, it)
	f.enlist()
}

// watchdog resets a stream on which something is due and nothing comes.
type watchdog struct {
	limit  time.Duration
	bitten chan struct{}

	mu    sync.Mutex
	timer *time.Timer
	done  bool
}

func newWatchdog(limit time.Duration, st shoal.Stream) *watchdog {
	w := &watchdog{limit: limit, bitten: make(chan struct{})}
	w.timer = time.AfterFunc(limit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.done {
			w.done = true
			close(w.bitten)
			st.Reset()
		}
	})
	w.timer.Stop()
	return w
}

// feed says that something came, and more is due.
func (w *watchdog) feed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.timer.Reset(w.limit)
	}
}

// rest says that nothing is due.
func (w *watchdog) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.done = true
}

// explain says why a stream broke, if it was the watchdog.
func (w *watchdog) explain(err error) error {
	select {
	case <-w.bitten:
		return shoal.Wrap(shoal.Unavailable, "fetch", errStalled)
	default:
		return err
	}
}
