package shoaltest

import (
	"fmt"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestDirectoryDouble(t *testing.T) {
	DirectorySuite(t, func(t *testing.T, n int) (nodes []DirectoryNode) {
		all := NewDirectories()
		for i := range n {
			id := shoal.PeerID(fmt.Sprint("peer", i))
			nodes = append(nodes, DirectoryNode{id, all.Node(id)})
		}
		return nodes
	})
}

func TestDirectoryLies(t *testing.T) {
	all := NewDirectories()
	key := shoal.NameKey("a", "b")
	d := DirectoryNode{"me", all.Node("me")}
	all.Plant(key, "gone")
	mustFind(t, d, key, "gone")
	all.Expire("gone")
	mustFind(t, d, key)
	all.Fail(shoal.E(shoal.Unavailable, "find", "because", ""))
	mustKind := func(err error) { t.Helper(); wantKind(t, err, shoal.Unavailable) }
	mustKind(d.Provide(t.Context(), key))
	_, err := Found(t.Context(), d, key, 0)
	mustKind(err)
	if all.Lookups() != 3 {
		t.Errorf("%d lookups", all.Lookups())
	}
}
