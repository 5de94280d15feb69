package agents

import (
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

// requirements remembers what agents ask of their keepers, compiled.
type requirements struct {
	mu   sync.Mutex
	list map[string]*match.Needs
}

const maxRequirements = 256

// get compiles an agent's requirement; "" asks for nothing. Invalid: it is malformed.
func (r *requirements) get(src string) (*match.Needs, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.list[src]; n != nil {
		return n, nil
	}
	n, err := match.Compile(src, shoal.Limits{})
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "requirements", err)
	}
	if r.list == nil || len(r.list) >= maxRequirements {
		r.list = map[string]*match.Needs{}
	}
	r.list[src] = n
	return n, nil
}

// unfit says why a member must not keep an agent that asks so, "" if it may. A keeper that fits no more stays.
func (a *Agents) unfit(needs string, m shoal.Member) string {
	if needs == "" {
		return ""
	}
	n, err := a.needs.get(needs)
	if err != nil { // of another version of shoal: what it means is not known here
		return err.Error()
	}
	if v := n.Check(&m, a.cfg.Now()); !v.OK {
		return v.Reason
	}
	return ""
}

// self is this node, as a member like others.
func (a *Agents) self() shoal.Member {
	m := a.Members.Self()
	m.State = shoal.Alive
	return m
}
