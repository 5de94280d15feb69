package dht

import (
	"context"

	"github.com/shoal-fabric/shoal"
)

// Heard reports whether anybody announced k to this node.
func (d *DHT) Heard(k shoal.Key) bool {
	list, err := d.kad.ProviderStore().GetProviders(context.Background(), []byte(k))
	return err == nil && len(list) > 0
}
