package scheduler

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// taskRequest is about one task, or (list) about those of one job.
type taskRequest struct {
	ID     shoal.TaskID `cbor:"id,omitempty"`
	Follow bool         `cbor:"follow,omitempty"`
}

const (
	listLimit  = 1000             // records in one answer
	listWait   = 2 * time.Second  // for the answers of all members
	listAtOnce = 32               // members asked at the same time
	waitTurn   = 10 * time.Second // a wait is asked again after so long
	pollEvery  = 200 * time.Millisecond
)

// Listing is what a fabric says of its tasks.
type Listing struct {
	Tasks  []job.Record   // newest first
	Silent []shoal.PeerID // members that did not answer; their tasks may be missing
}

// List asks all members for their tasks: those that stand alone and jobs, or the tasks of one job.
func (s *Scheduler) List(ctx context.Context, of shoal.TaskID) (Listing, error) {
	if of != "" {
		if err := job.Check(of); err != nil {
			return Listing{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, listWait)
	defer cancel()
	var out Listing
	var mu sync.Mutex
	best := map[shoal.TaskID]job.Record{}
	add := func(from shoal.PeerID, recs []job.Record) {
		for _, r := range recs {
			if job.Check(r.ID) != nil {
				continue
			}
			// The home knows of all attempts; a runner's word serves when the home is silent.
			if _, known := best[r.ID]; !known || from == r.Home {
				best[r.ID] = r.Clone()
			}
		}
	}
	add(s.self, s.listHere(of))
	var wait sync.WaitGroup
	room := make(chan struct{}, listAtOnce)
	for _, m := range s.d.Members.Table() {
		if m.State != shoal.Alive || m.ID == s.self {
			continue
		}
		wait.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			reply, err := s.d.Peers.Ask(ctx, m.ID, "task.list", wire.Marshal(taskRequest{ID: of}))
			var recs []job.Record
			if err == nil {
				err = wire.Unmarshal("task list", reply, &recs)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Silent = append(out.Silent, m.ID)
				return
			}
			add(m.ID, recs)
		})
	}
	wait.Wait()
	for _, r := range best {
		out.Tasks = append(out.Tasks, r)
	}
	slices.SortFunc(out.Tasks, newestFirst)
	slices.Sort(out.Silent)
	return out, nil
}

// listHere is what List tells of this node: explanations are for Show.
func (s *Scheduler) listHere(of shoal.TaskID) []job.Record {
	recs := s.book.list(listLimit, func(r *job.Record) bool {
		top := job.Top(r.ID)
		if of == "" {
			return r.ID == top
		}
		return top == job.Top(of) && r.ID != top
	})
	for i := range recs {
		recs[i].Explain = nil
	}
	return recs
}

func (s *Scheduler) handleList(_ context.Context, _ shoal.PeerID, request []byte) ([]byte, error) {
	var q taskRequest
	if err := wire.Unmarshal("task list", request, &q); err != nil {
		return nil, err
	}
	recs := s.listHere(q.ID)
	for {
		b := wire.Marshal(recs)
		if len(b) <= wire.MaxFrame {
			return b, nil
		}
		recs = recs[:len(recs)/2]
	}
}

// Show returns the record of a task or job, wherever its home is.
func (s *Scheduler) Show(ctx context.Context, id shoal.TaskID) (job.Record, error) {
	return s.askHome(ctx, id, "task.show", s.handleShow)
}

// Wait waits until a task or job has ended and returns its record.
func (s *Scheduler) Wait(ctx context.Context, id shoal.TaskID) (job.Record, error) {
	for {
		r, err := s.askHome(ctx, id, "task.wait", s.handleWait)
		if err != nil || job.Ended(r.State) {
			return r, err
		}
	}
}

// Cancel ends a task or job; one that has ended stays as it is.
func (s *Scheduler) Cancel(ctx context.Context, id shoal.TaskID) error {
	_, err := s.askHome(ctx, id, "task.cancel", s.handleCancel)
	return err
}

// askHome asks the home of a task, which may be this node.
func (s *Scheduler) askHome(ctx context.Context, id shoal.TaskID, method string, here shoal.Handler) (job.Record, error) {
	home, err := s.home(ctx, id)
	if err != nil {
		return job.Record{}, err
	}
	request := wire.Marshal(taskRequest{ID: id})
	var reply []byte
	if home == s.self {
		reply, err = here(ctx, s.self, request)
	} else {
		reply, err = s.d.Peers.Ask(ctx, home, method, request)
	}
	if err != nil {
		if shoal.KindOf(err) == shoal.Unavailable {
			return job.Record{}, shoal.Wrap(shoal.Unavailable, "task "+string(id)+": ask its home "+home.Short(), err)
		}
		return job.Record{}, err
	}
	var r job.Record
	if err := wire.Unmarshal("task record", reply, &r); err != nil {
		return job.Record{}, err
	}
	return r.Clone(), nil
}

// home finds the node that looks after a task.
func (s *Scheduler) home(ctx context.Context, id shoal.TaskID) (shoal.PeerID, error) {
	tag, err := job.Home(id)
	if err != nil {
		return "", err
	}
	if tag == job.HomeTag(s.self) {
		return s.self, nil
	}
	s.mu.Lock()
	home, known := s.homes[tag]
	s.mu.Unlock()
	if known {
		return home, nil
	}
	for _, m := range s.d.Members.Table() {
		if job.HomeTag(m.ID) == tag {
			return s.remember(tag, m.ID), nil
		}
	}
	if s.d.Directory != nil {
		for p, err := range s.d.Directory.Find(ctx, homeKey(tag), 8) {
			if err == nil && job.HomeTag(p) == tag {
				return s.remember(tag, p), nil
			}
		}
	}
	return "", shoal.E(shoal.NotFound, "task "+string(id), "no known member is its home",
		"check the name with 'shoal task ls'; its node may have left the fabric")
}

func (s *Scheduler) remember(tag string, p shoal.PeerID) shoal.PeerID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.homes) >= 1<<14 {
		clear(s.homes)
	}
	s.homes[tag] = p
	return p
}

func parseTask(request []byte) (taskRequest, error) {
	var q taskRequest
	if err := wire.Unmarshal("task request", request, &q); err != nil {
		return q, err
	}
	return q, job.Check(q.ID)
}

func unknownTask(id shoal.TaskID) error {
	return shoal.E(shoal.NotFound, "task "+string(id), "its home does not know it",
		"old tasks are forgotten; see 'shoal task ls'")
}

func (s *Scheduler) handleShow(_ context.Context, _ shoal.PeerID, request []byte) ([]byte, error) {
	q, err := parseTask(request)
	if err != nil {
		return nil, err
	}
	r, _, ok := s.book.get(q.ID)
	if !ok {
		return nil, unknownTask(q.ID)
	}
	return wire.Marshal(r), nil
}

// handleWait answers when the task has ended, or with its present state after a while.
func (s *Scheduler) handleWait(ctx context.Context, _ shoal.PeerID, request []byte) ([]byte, error) {
	q, err := parseTask(request)
	if err != nil {
		return nil, err
	}
	turn := time.NewTimer(waitTurn)
	defer turn.Stop()
	for late := false; ; {
		r, changed, ok := s.book.get(q.ID)
		switch {
		case !ok:
			return nil, unknownTask(q.ID)
		case late || job.Ended(r.State):
			return wire.Marshal(r), nil
		}
		select {
		case <-changed:
		case <-turn.C:
			late = true
		case <-s.life.Done():
			return nil, errStopping("task " + string(q.ID))
		case <-ctx.Done():
			return nil, shoal.Wrap(shoal.Canceled, "wait for task "+string(q.ID), ctx.Err())
		}
	}
}

func (s *Scheduler) handleCancel(_ context.Context, _ shoal.PeerID, request []byte) ([]byte, error) {
	q, err := parseTask(request)
	if err != nil {
		return nil, err
	}
	if !s.book.cancel(q.ID) {
		return nil, unknownTask(q.ID)
	}
	r, _, ok := s.book.get(q.ID)
	if !ok {
		return nil, unknownTask(q.ID)
	}
	return wire.Marshal(r), nil
}

// Logs writes what a task printed, live until it ends if follow is set. For a task that was tried
// more than once it is the output of the last attempt. The log of a job is what its home noted, which
// has what each of its tasks printed. NotFound: it printed nothing, or the log was dropped with age.
func (s *Scheduler) Logs(ctx context.Context, id shoal.TaskID, follow bool, stdout, stderr io.Writer) error {
	r, err := s.Show(ctx, id)
	if err != nil {
		return err
	}
	err = s.logsOf(ctx, id, follow, stdout, stderr)
	if shoal.KindOf(err) == shoal.NotFound && r.Kind == job.KindJob {
		return shoal.E(shoal.NotFound, "logs of job "+string(id), "no task of it that has ended printed anything",
			"'shoal task ls "+string(id)+"' lists its tasks; each has a log of its own")
	}
	return err
}

func (s *Scheduler) logsOf(ctx context.Context, id shoal.TaskID, follow bool, stdout, stderr io.Writer) error {
	for {
		r, err := s.Show(ctx, id)
		if err != nil {
			return err
		}
		at := r.Peer
		if r.Kind == job.KindJob {
			at = r.Home
		}
		if at == "" && !follow {
			return shoal.E(shoal.NotFound, "logs of "+string(id), "it has not started", "wait for it with --follow")
		}
		if at != "" {
			err = s.logsAt(ctx, at, id, follow, stdout, stderr)
			kind := shoal.KindOf(err)
			if !follow || err != nil && kind != shoal.NotFound && kind != shoal.Unavailable {
				return err
			}
		}
		now, showErr := s.Show(ctx, id)
		if showErr != nil {
			return showErr
		}
		same := now.Attempts == r.Attempts && now.Peer == r.Peer
		if job.Ended(now.State) && same && (job.Ended(r.State) || err == nil && at != "") {
			return err
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return shoal.Wrap(shoal.Canceled, "wait", ctx.Err())
	}
}

// Track keeps the record and log of a job that lives on this node; cancel is called when somebody
// cancels it. A record of the same name makes way. When Track returns the record is on disk.
func (s *Scheduler) Track(r job.Record, cancel func()) (job.Tracker, error) {
	if err := job.Check(r.ID); err != nil {
		return nil, err
	}
	if home, err := job.Home(r.ID); err != nil || home != job.HomeTag(s.self) {
		return nil, shoal.E(shoal.Invalid, "task "+string(r.ID), "its home is another node", "")
	}
	r.Home = s.self
	e := s.book.put(r, cancel)
	if err := s.book.flush(); err != nil {
		return nil, err
	}
	return &tracked{s: s, e: e, log: s.logs.begin(r.ID)}, nil
}

type tracked struct {
	s   *Scheduler
	e   *entry
	log *taskLog
}

func (t *tracked) Update(f func(r *job.Record)) {
	ended := false
	t.s.book.update(t.e, func(r *job.Record) {
		f(r)
		ended = job.Ended(r.State)
	})
	if ended {
		t.log.end()
	}
}

func (t *tracked) Log(stderr bool, p []byte) {
	stream := logOut
	if stderr {
		stream = logErr
	}
	t.log.write(stream, bytes.Clone(p))
}
