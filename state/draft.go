package state

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
)

var _ shoal.Drafts = (*State)(nil)

// Draft implements shoal.Drafts: what a turn stages is held against what this node knows then, and made in one piece, on this disk.
func (s *State) Draft(read bool) shoal.Draft {
	return &merge.Turn{
		Read: read, Look: s.view, Peek: s.peek, Now: func() int64 { return s.cfg.Now().UnixMilli() },
		Make: func(ctx context.Context, f func(*merge.Space) error) error { return s.do(ctx, true, f) },
	}
}
