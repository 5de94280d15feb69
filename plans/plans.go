package plans

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/plans/graph"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/wire"
)

// Config is the settings of plans. Zero means the default in brackets.
type Config struct {
	Window   int           // tasks given to a node at once, per slot [2]
	Attempts int           // runs of one task that may fail [8]
	Patience time.Duration // how long a job waits while no fitting node is up [2 min]
	Backlog  float64       // seconds of waiting at the holders from which on data travels instead [10]
	Look     time.Duration // between looks at the member table [250 ms]
	Distrust time.Duration // how long a node that lost a task gets no other [2 s]
	Relocate time.Duration // between looks for new holders while nodes are missing [5 s]
	Copies   int           // second copies of late tasks at once; less than 0: none [a quarter of the slots]
	Late     time.Duration // how long a task has to be on its way before it can be late [1 s]
	Save     time.Duration // between notes of what a detached job has finished [500 ms]
	Scratch  string        // a folder for what tasks print until it is passed on [that of the system]
	Log      *slog.Logger  // [none]
}

func (c *Config) validate() {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&c.Look, 250*time.Millisecond)
	def(&c.Distrust, 2*time.Second)
	def(&c.Relocate, 5*time.Second)
	def(&c.Save, 500*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Plans coordinates jobs on this node. All methods may be called from many goroutines at once.
type Plans struct {
	cfg  Config
	d    Deps
	self shoal.PeerID
	life context.Context
	end  context.CancelCauseFunc
	wait sync.WaitGroup

	mu   sync.Mutex
	jobs map[shoal.TaskID]*Handle // that run
}

// New begins, and takes up the detached jobs that the last end of this node interrupted. The caller
// calls Close.
func New(cfg Config, d Deps) (*Plans, error) {
	cfg.validate()
	p := &Plans{cfg: cfg, d: d, self: d.Members.Self().ID, jobs: map[shoal.TaskID]*Handle{}}
	p.life, p.end = context.WithCancelCause(context.Background())
	if err := trimResults(d.KV); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "read old results", err)
	}
	jobs, done, bad := loadJobs(d.KV)
	for _, k := range bad {
		cfg.Log.Warn("a saved job is unreadable and dropped", "key", k)
		if err := d.KV.Delete(k); err != nil {
			return nil, shoal.Wrap(shoal.Internal, "drop a saved job", err)
		}
	}
	for _, s := range jobs {
		if _, err := p.begin(context.Background(), s.job(), s.Parts, done[s.ID], time.UnixMilli(s.Created)); err != nil {
			cfg.Log.Error("a detached job is not taken up", "job", s.ID, "error", err)
		}
	}
	return p, nil
}

// errClosing tells the tasks of a job why they end.
var errClosing = errors.New("the node stops")

// Close interrupts all jobs and waits until they have stopped. Detached ones go on when the node
// starts again.
func (p *Plans) Close() error {
	p.mu.Lock() // no job begins between the two
	p.end(errClosing)
	p.mu.Unlock()
	p.wait.Wait()
	return nil
}

// Get returns a job that runs on this node.
func (p *Plans) Get(id shoal.TaskID) (*Handle, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h, ok := p.jobs[id]
	return h, ok
}

// Result returns what came of a job that this node has coordinated; NotFound if it knows no result.
func (p *Plans) Result(id shoal.TaskID) (Result, error) {
	what := "result of job " + string(id)
	v, err := p.d.KV.Get(resultKey + string(id))
	if err != nil {
		return Result{}, shoal.Wrap(shoal.Internal, what, err)
	}
	var s savedResult
	err = wire.Unmarshal(what, v, &s)
	return s.Result, err
}

// Start begins a job and returns once its tasks are known. Unless the job is detached, the end of
// ctx cancels it; a detached one is on disk when Start returns.
func (p *Plans) Start(ctx context.Context, j Job) (*Handle, error) {
	if j.ID == "" {
		j.ID = p.d.Tasks.NewID()
	}
	what := "job " + string(j.ID)
	switch err := job.Check(j.ID); {
	case err != nil:
		return nil, err
	case !j.Module.Defined():
		return nil, shoal.E(shoal.Invalid, what, "it names no module", "")
	case j.Reduce != nil && !j.Each:
		return nil, shoal.E(shoal.Invalid, what, "a reducer needs one task per partition", "add --each")
	case j.Reduce != nil && !j.Reduce.Defined():
		return nil, shoal.E(shoal.Invalid, what, "the reducer has no CID", "")
	case j.Each && len(j.Data) == 0:
		return nil, shoal.E(shoal.Invalid, what, "no dataset to run over", "name one with --data CID")
	}
	if _, err := match.Compile(j.Needs, j.Limits); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what+": requirements", err)
	}
	var parts []part
	if j.Each {
		var err error
		if parts, err = p.partition(ctx, j); err != nil {
			return nil, shoal.Wrap(shoal.Internal, what, err)
		}
	}
	now := time.Now()
	if j.Detach {
		j.Stdout, j.Stderr = nil, nil
		if err := p.d.KV.Set(jobKey+string(j.ID), wire.Marshal(saved(j, parts, now.UnixMilli()))); err != nil {
			return nil, shoal.Wrap(shoal.Internal, what+": note it", err)
		}
	}
	return p.begin(ctx, j, parts, nil, now)
}

// partition finds the tasks of a job: the partitions of its datasets and who holds them.
func (p *Plans) partition(ctx context.Context, j Job) (parts []part, err error) {
	for set, in := range j.Data {
		holders, m, err := p.d.Data.Where(ctx, in.CID)
		if err != nil {
			return nil, shoal.Wrap(shoal.NotFound, "dataset "+in.CID.String(), err)
		}
		if len(m.Partitions) == 0 {
			return nil, shoal.E(shoal.Invalid, "dataset "+in.CID.String(), "it has no partitions", "put it again")
		}
		at := make([][]shoal.PeerID, len(m.Partitions))
		for _, h := range holders {
			for _, i := range h.Partitions {
				if i >= 0 && i < len(at) {
					at[i] = append(at[i], h.Peer)
				}
			}
		}
		for i, q := range m.Partitions {
			parts = append(parts, part{Name: in.Name, CID: q.CID, Bytes: q.Bytes, Set: set, Index: i, Holders: at[i]})
		}
	}
	return parts, nil
}

// begin starts the loop of a job.
func (p *Plans) begin(ctx context.Context, j Job, parts []part, done []finished, created time.Time) (*Handle, error) {
	if j.Detach {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	h := newHandle(j.ID, cancel)
	p.mu.Lock()
	if p.jobs[j.ID] != nil || p.life.Err() != nil {
		p.mu.Unlock()
		cancel(nil)
		return nil, shoal.E(shoal.Exists, "job "+string(j.ID), "it runs already, or the node stops", "")
	}
	p.jobs[j.ID] = h
	p.wait.Add(1)
	p.mu.Unlock()
	drop := func() {
		p.mu.Lock()
		delete(p.jobs, j.ID)
		p.mu.Unlock()
		cancel(nil)
		p.wait.Done()
	}
	tracker, err := p.d.Tasks.Track(job.Record{
		ID: j.ID, Kind: job.KindJob, Home: p.self, Peer: p.self, Module: shoal.CodeName(j.Module), Args: j.Args,
		State: shoal.TaskRunning, Created: created.UnixMilli(), Started: created.UnixMilli(),
		Counts: &job.Counts{Tasks: max(len(parts), 1)},
	}, h.Cancel)
	if err != nil {
		h.end(Result{}, err)
		drop()
		return nil, errors.Join(err, forgetJob(p.d.KV, j.ID))
	}
	unlink := context.AfterFunc(p.life, func() { cancel(errClosing) })
	f := &flow{p: p, j: j, h: h, ctx: ctx, tracker: tracker, parts: parts, began: time.Now(), created: created.UnixMilli()}
	if err := f.prepare(done); err != nil {
		tracker.Update(func(r *job.Record) { f.finish(r, Result{}, err) })
		h.end(Result{}, err)
		unlink()
		drop()
		return nil, errors.Join(err, forgetJob(p.d.KV, j.ID))
	}
	go func() {
		defer drop()
		defer unlink()
		f.run()
	}()
	return h, nil
}

// graphSpec is the map and reduce stages for package graph.
func (p *Plans) graphSpec(j Job, parts []part) graph.Spec {
	s := graph.Spec{
		Maps: make([]graph.Map, len(parts)), Reduce: j.Reduce != nil, Window: p.cfg.Window, Attempts: p.cfg.Attempts,
		Patience: p.cfg.Patience, Backlog: p.cfg.Backlog, Copies: p.cfg.Copies, CopyAfter: p.cfg.Late,
	}
	if _, native := shoal.ExecName(j.Module); native {
		// Devices are few, two runs need not give the same, and what else the command does it would do twice.
		s.Copies = -1
	}
	for i, q := range parts {
		s.Maps[i] = graph.Map{Bytes: q.Bytes, Holders: q.Holders}
		if j.On != "" {
			s.Maps[i].Holders = []shoal.PeerID{j.On}
		}
	}
	return s
}

// outName is the folder of a task's output at the reducer.
func outName(i int) string { return fmt.Sprintf("%05d", i) }
