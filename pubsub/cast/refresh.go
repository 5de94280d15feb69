package cast

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Refresh asks a topic's agent now what View then returns.
func (c *Cast) Refresh(ctx context.Context, key shoal.Key) (*topic.View, error) {
	l, err := c.line(key)
	if err != nil {
		return nil, err
	}
	return l.look(ctx)
}
