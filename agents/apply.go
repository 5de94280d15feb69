package agents

import (
	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// apply brings committed entries into the agent's state. The caller holds mu.
func (x *actor) apply(entries []group.Entry, mark group.Mark) error {
	var batch []shoal.Write
	look, changed := false, false
	for _, e := range entries {
		if e.Kind != group.Turn {
			continue
		}
		list, ok := x.pipe.Staged(e.Index)
		if !ok {
			d, err := turn.Decode(e.Data)
			if err == nil {
				list, err = x.pipe.Push(e.Index, d)
			}
			if err != nil {
				return err
			}
		}
		look, changed = look || turn.Schedules(list), changed || turn.Changes(list)
		batch = append(batch, x.state.writes(list)...)
	}
	batch = append(batch, markWrite(x.key, mark))
	if err := x.a.Table.Commit(false, batch...); err != nil {
		return err
	}
	was := x.mark.Conf.Index
	x.mark = mark
	x.pipe.Applied(mark.Index)
	if mark.Conf.Index != was {
		x.watch(mark.Conf)
		if x.open && !mark.Conf.Joint() {
			x.noteSoon()
		}
	}
	if changed {
		if err := x.recode(); err != nil {
			return err
		}
	}
	if look {
		if err := x.schedule(); err != nil {
			return err
		}
	}
	for _, e := range entries {
		for len(x.waiting) > 0 && x.waiting[0].at.Index <= e.Index {
			w := x.waiting[0]
			x.waiting = x.waiting[1:]
			if e.Kind == group.Turn && w.at == e.Position {
				w.done(nil)
			} else {
				w.done(lost())
			}
		}
	}
	return nil
}

// lost is what becomes of a turn whose leader was deposed: it may or may not happen.
func lost() error {
	return shoal.E(shoal.Unavailable, "agent", "it moved while the turn was being written", "")
}
