package agenttest

import (
	"context"
	"fmt"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

// Shared is mergeable state in memory, of one node. It is for one goroutine.
type Shared struct {
	// Fail has commits fail so; nil: they do not.
	Fail error

	space *merge.Space
	now   int64
}

var _ shoal.Drafts = (*Shared)(nil)

// NewShared returns a state without objects.
func NewShared() *Shared {
	return &Shared{space: merge.New(merge.Replica(fmt.Sprintf("%0*d", merge.ReplicaBytes, 1)))}
}

// Draft implements shoal.Drafts.
func (s *Shared) Draft(read bool) shoal.Draft {
	look := func(f func(*merge.Space)) { f(s.space) }
	return &merge.Turn{
		Read: read, Look: look, Peek: look, Now: func() int64 { s.now++; return s.now },
		Make: func(_ context.Context, f func(*merge.Space) error) error {
			if s.Fail != nil {
				return s.Fail
			}
			return f(s.space)
		},
	}
}

// Dump writes down all objects, one in a line: "NAME#FIELD KIND VALUE".
func (s *Shared) Dump() string {
	var out strings.Builder
	for _, k := range s.space.Keys("") {
		name := k.Name
		if k.Field != "" {
			name += "#" + k.Field
		}
		switch v, _ := s.space.Get(k); k.Kind {
		case merge.Register:
			fmt.Fprintf(&out, "%s %s %q\n", name, k.Kind, v.Text)
		case merge.Set, merge.GrowSet:
			fmt.Fprintf(&out, "%s %s %q\n", name, k.Kind, v.Items)
		default:
			fmt.Fprintf(&out, "%s %s %d\n", name, k.Kind, v.Number)
		}
	}
	return out.String()
}

// Ops is how many operations the space has made.
func (s *Shared) Ops() uint64 { return s.space.Seen()[s.space.Self()] }
