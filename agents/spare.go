package agents

import (
	"context"

	"github.com/shoal-fabric/shoal"
)

// spare is an instance of an agent's code that is opened while its keepers elect: whoever wakes an agent waits for the
// longer of the two, not for both.
type spare struct {
	program string
	done    chan struct{} // closed when inst or err is there
	inst    shoal.Instance
	err     error
}

// prepare has an instance opened, if none is. The caller holds mu.
func (x *actor) prepare() {
	if x.spare != nil || x.inst != nil || len(x.readers) > 0 || x.dead != nil {
		return
	}
	s := &spare{program: x.program, done: make(chan struct{})}
	x.spare = s
	x.a.work.Go(func() {
		defer close(s.done)
		bounded := within(x.a.ctx, readyTime)
		defer bounded.done()
		code, err := x.behaviour(bounded)
		if err == nil {
			s.inst, err = code.Open(bounded)
		}
		s.err = err
	})
}

// spared returns the instance that was prepared, if it is of the code in force; nil: there is none.
func (x *actor) spared(ctx context.Context) shoal.Instance {
	x.mu.Lock()
	s, program := x.spare, x.program
	x.spare = nil
	x.mu.Unlock()
	if s == nil {
		return nil
	}
	if s.program != program {
		x.a.work.Go(s.drop)
		return nil
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		x.a.work.Go(s.drop)
		return nil
	}
	if s.err != nil {
		return nil
	}
	return s.inst
}

func (s *spare) drop() {
	if <-s.done; s.err == nil {
		s.inst.Close()
	}
}

// unprepare gives up what was prepared. The caller holds mu.
func (x *actor) unprepare() {
	if x.spare != nil {
		x.a.work.Go(x.spare.drop)
		x.spare = nil
	}
}
