package state

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state/merge"
	"github.com/shoal-fabric/shoal/wire"
)

// What lies in the table: "i" this node's replica, "m" + replica a mark, "o" + replica + number an operation.
const (
	selfKey  = "i"
	markKey  = 'm'
	opKey    = 'o'
	opKeyLen = 1 + merge.ReplicaBytes + 8
)

func newReplica() merge.Replica {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return merge.Replica(base64.RawURLEncoding.EncodeToString(b))
}

func keyOfMark(r merge.Replica) []byte { return append([]byte{markKey}, r...) }

func keyOfOp(d merge.Dot) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{opKey}, d.Replica...), d.Seq)
}

// load reads a space; a table that is empty becomes one.
func load(t shoal.Table) (*merge.Space, error) {
	self, ok, err := t.Get([]byte(selfKey))
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, "read state", err)
	}
	if !ok {
		self = []byte(newReplica())
		if err := t.Commit(true, shoal.Write{Key: []byte(selfKey), Value: self}); err != nil {
			return nil, shoal.Wrap(shoal.Internal, "begin state", err)
		}
	}
	s := merge.New(merge.Replica(self))
	for p, err := range t.Scan([]byte{markKey}, []byte{markKey + 1}) {
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, "read state", err)
		}
		var m merge.Mark
		if err := wire.Unmarshal("state's mark", p.Value, &m); err != nil {
			return nil, err
		}
		m.Replica = merge.Replica(p.Key[1:])
		s.Load(m)
	}
	for p, err := range t.Scan([]byte{opKey}, []byte{opKey + 1}) {
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, "read state", err)
		}
		var o merge.Op
		if err := wire.Unmarshal("state's operation", p.Value, &o); err != nil {
			return nil, err
		}
		if len(p.Key) != opKeyLen || binary.BigEndian.Uint64(p.Key[opKeyLen-8:]) != o.Seq {
			return nil, shoal.E(shoal.Corrupt, "state", "an operation lies where another should", "start the node in another directory: it gets its state from others")
		}
		s.LoadRow(merge.Dot{Replica: merge.Replica(p.Key[1 : opKeyLen-8]), Seq: o.Seq}, &o)
	}
	return s, nil
}

// writes are a space's changes as a batch.
func writes(rows []merge.Row, marks []merge.Mark) []shoal.Write {
	batch := make([]shoal.Write, 0, len(rows)+len(marks))
	for _, r := range rows {
		w := shoal.Write{Key: keyOfOp(r.Dot)}
		if w.Delete = r.Op == nil; !w.Delete {
			w.Value = wire.Marshal(r.Op)
		}
		batch = append(batch, w)
	}
	for _, m := range marks {
		batch = append(batch, shoal.Write{Key: keyOfMark(m.Replica), Value: wire.Marshal(m)})
	}
	return batch
}
