package agents

import "github.com/shoal-fabric/shoal"

// unfit says why a member must not keep an agent that asks so, "" if it may. A keeper that fits no more stays.
func (a *Agents) unfit(needs string, m shoal.Member) string {
	if needs == "" {
		return ""
	}
	n, err := a.needs.Get(needs)
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
