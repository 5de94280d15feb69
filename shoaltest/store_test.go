package shoaltest

import (
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

func TestStoreDouble(t *testing.T) {
	TestStore(t, func(*testing.T) (shoal.Store, func(cid.Cid)) {
		s := NewStore()
		return s, s.Flip
	})
}

func TestKVDouble(t *testing.T) {
	TestKV(t, func(*testing.T) shoal.KV { return NewKV() })
	TestTable(t, func(*testing.T) shoal.Table { return NewTable() })
}
