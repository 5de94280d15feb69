package node

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/state"
	"github.com/shoal-fabric/shoal/state/merge"
)

func (n *Node) buildState() (err error) {
	n.rooms.state, err = state.New(state.Config{Log: n.cfg.Log, Now: n.cfg.now}, state.Deps{
		Peers: n.rooms.rpc, Members: n.rooms.members, Table: n.rooms.disk.Table("state"), Connected: n.rooms.host.Connected,
	})
	return err
}

// ChangeState changes mergeable state; see state.State.Change.
func (n *Node) ChangeState(ctx context.Context, copies int, list ...state.Change) error {
	if err := n.belong("change state"); err != nil {
		return err
	}
	return n.rooms.state.Change(ctx, copies, list...)
}

// State returns the objects of one name, as this node knows them.
func (n *Node) State(name string) ([]state.Object, error) { return n.rooms.state.Get(name) }

// States lists the objects whose names begin so.
func (n *Node) States(prefix string) []state.Object { return n.rooms.state.List(prefix) }

// WatchState returns an object once a condition holds of it, which once it holds does for ever (expr.Until). Invalid: it need not,
// or the object is one that does not only grow.
func (n *Node) WatchState(ctx context.Context, name, field, until string) (state.Object, error) {
	what := "watch " + name
	u, err := expr.CompileUntil(until)
	if err != nil {
		return state.Object{}, shoal.Wrap(shoal.Invalid, what, err)
	}
	return n.rooms.state.Watch(ctx, name, field, func(o state.Object) (bool, error) {
		switch {
		case o.Kind != merge.Counter && o.Kind != merge.GrowSet:
			return false, shoal.E(shoal.Invalid, what, "it is a "+o.Kind.String()+": what holds of it need not hold for ever", "watch a counter or a growset")
		case o.Kind == merge.Counter && u.Set():
			return false, shoal.E(shoal.Invalid, what, "it is a counter, which has a value and no elements", "ask for value")
		case o.Kind == merge.GrowSet && u.Number():
			return false, shoal.E(shoal.Invalid, what, "it is a growset, which has elements and no value", "ask for size or items")
		}
		return u.Hold(o.Number, o.Items)
	})
}
