package agents

import (
	"context"
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
)

// clerk brings births to an owner's directory: those that come while one turn is on its way share the next, as writes
// share a sync.
type clerk struct {
	mu    sync.Mutex
	queue []*form
	busy  bool
}

// form is one question to a directory, and what came of it.
type form struct {
	part  directory.Part
	done  chan struct{}
	entry directory.Entry
	err   error
}

// clerk returns the one of an owner.
func (a *Agents) clerk(owner shoal.PeerID) *clerk {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.clerks[owner]
	if c == nil {
		c = &clerk{}
		a.clerks[owner] = c
	}
	return c
}

// file asks an owner's directory one of the questions that it answers together with others. The answer comes when done is
// closed, whether or not anybody waits.
func (a *Agents) file(owner shoal.PeerID, method string, q directory.Question) *form {
	f := &form{part: directory.Part{Method: method, Question: q}, done: make(chan struct{})}
	c := a.clerk(owner)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, f)
	if !c.busy {
		c.busy = true
		a.work.Go(func() { a.clear(owner, c) })
	}
	return f
}

// enter files a question and waits for the answer.
func (a *Agents) enter(ctx context.Context, owner shoal.PeerID, method string, q directory.Question) (*directory.Entry, error) {
	f := a.file(owner, method, q)
	select {
	case <-f.done:
		return &f.entry, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// clear brings what is queued to the directory, until nothing is.
func (a *Agents) clear(owner shoal.PeerID, c *clerk) {
	for {
		c.mu.Lock()
		n := min(len(c.queue), directory.MaxParts)
		forms := c.queue[:n:n]
		c.queue = c.queue[n:]
		if n == 0 {
			c.queue, c.busy = nil, false
		}
		c.mu.Unlock()
		if n == 0 {
			return
		}
		q := directory.Question{Each: make([]directory.Part, n)}
		for i, f := range forms {
			q.Each[i] = f.part
		}
		var out []directory.Outcome
		ctx, cancel := context.WithTimeout(a.ctx, callTime)
		err := a.askDirectory(ctx, owner, "together", q, false, &out)
		cancel()
		if err == nil && len(out) != n {
			err = shoal.E(shoal.Internal, "directory", "it answered to other questions", "")
		}
		for i, f := range forms {
			switch {
			case err != nil:
				f.err = err
			case out[i].Failure != nil:
				f.err = out[i].Failure.Err()
			default:
				f.entry = out[i].Entry
			}
			if f.err != nil && a.ctx.Err() == nil {
				a.cfg.Log.Debug("agents: a directory's answer", "question", f.part.Method, "name", f.part.Name, "err", f.err)
			}
			close(f.done)
		}
	}
}
