package shoaltest

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Store is a shoal.Store in memory.
type Store struct {
	mu     sync.Mutex
	blocks map[cid.Cid][]byte
	limit  uint64
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{blocks: map[cid.Cid][]byte{}} }

// SetLimit has the store refuse, with Full, what would bring it over n bytes; 0: no limit.
func (s *Store) SetLimit(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// Flip changes one bit of the block c, as a bad disk would.
func (s *Store) Flip(c cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := bytes.Clone(s.blocks[c]); len(b) > 0 {
		b[len(b)/2] ^= 1
		s.blocks[c] = b
	}
}

// Held returns the bytes of all blocks.
func (s *Store) Held() (sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		sum += uint64(len(b))
	}
	return sum
}

func matches(c cid.Cid, data []byte) bool {
	got, err := c.Prefix().Sum(data)
	return err == nil && got.Equals(c)
}

// Put implements shoal.Store.
func (s *Store) Put(ctx context.Context, blocks ...shoal.Block) error {
	if err := ctx.Err(); err != nil {
		return shoal.Wrap(shoal.Internal, "keep blocks", err)
	}
	for _, b := range blocks {
		if !b.CID.Defined() {
			return shoal.E(shoal.Invalid, "keep blocks", "no CID", "")
		}
		if !matches(b.CID, b.Data) {
			return shoal.E(shoal.Corrupt, "block "+b.CID.String(), "the bytes do not match the CID", "")
		}
	}
	held := s.Held()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range blocks {
		if _, ok := s.blocks[b.CID]; ok {
			continue
		}
		if held += uint64(len(b.Data)); s.limit > 0 && held > s.limit {
			return shoal.E(shoal.Full, "keep block "+b.CID.String(), "the disk is full", "free some space")
		}
		s.blocks[b.CID] = bytes.Clone(b.Data)
	}
	return nil
}

// Get implements shoal.Store.
func (s *Store) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	what := "block " + c.String()
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blocks[c]
	if !ok {
		return nil, shoal.E(shoal.NotFound, what, "not on this node", "")
	}
	if !matches(c, b) {
		delete(s.blocks, c)
		return nil, shoal.E(shoal.Corrupt, what, "the bytes on disk changed; the block was dropped", "")
	}
	return append([]byte{}, b...), nil
}

// Size implements shoal.Store.
func (s *Store) Size(ctx context.Context, c cid.Cid) (int, error) {
	what := "block " + c.String()
	if err := ctx.Err(); err != nil {
		return 0, shoal.Wrap(shoal.Internal, what, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blocks[c]
	if !ok {
		return 0, shoal.E(shoal.NotFound, what, "not on this node", "")
	}
	return len(b), nil
}

// Delete implements shoal.Store.
func (s *Store) Delete(ctx context.Context, cids ...cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return shoal.Wrap(shoal.Internal, "drop blocks", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range cids {
		delete(s.blocks, c)
	}
	return nil
}

// All implements shoal.Store.
func (s *Store) All(ctx context.Context) iter.Seq2[cid.Cid, error] {
	s.mu.Lock()
	cids := slices.Collect(maps.Keys(s.blocks))
	s.mu.Unlock()
	return func(yield func(cid.Cid, error) bool) {
		for _, c := range cids {
			if err := ctx.Err(); err != nil {
				yield(cid.Undef, shoal.Wrap(shoal.Internal, "list blocks", err))
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}
