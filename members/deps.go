package members

import (
	"context"

	"github.com/shoal-fabric/shoal"
)

// Door carries one small request to a peer that need not be a member; host.Host has it.
type Door interface {
	AskDoor(ctx context.Context, p shoal.PeerID, method string, request []byte) ([]byte, error)
	HandleDoor(method string, f shoal.Handler)
}

// Network makes and watches connections; host.Host has it. Addresses that it is given come without
// /p2p, those that it returns may end in it.
type Network interface {
	Connect(ctx context.Context, p shoal.PeerID, addresses []string) error
	Disconnect(p shoal.PeerID)
	Connected() []shoal.PeerID
	Addresses() []string // of this node
	// Notify has f called when a peer's first connection opens and when its last one ends.
	Notify(f func(p shoal.PeerID, up bool))
}

// Discovery hears of nodes on the local network. A Network that has it too is used for JoinLAN and
// to find members whose addresses changed.
type Discovery interface {
	OnDiscover(f func(p shoal.PeerID, addresses []string))
}

// Deps are what members needs of others. The Peers come later, with Attach.
type Deps struct {
	Door    Door
	Network Network
	KV      shoal.KV
}
