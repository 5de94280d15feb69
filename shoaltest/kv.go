package shoaltest

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shoal-fabric/shoal"
)

// KV is a shoal.KV in memory.
type KV struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   error
}

// NewKV returns an empty KV.
func NewKV() *KV { return &KV{values: map[string][]byte{}} }

// Fail has Set and Delete return err from now on; nil: work again.
func (k *KV) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// Get implements shoal.KV.
func (k *KV) Get(key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.values[key]
	if !ok {
		return nil, shoal.E(shoal.NotFound, "state "+key, "not set", "")
	}
	return append([]byte{}, v...), nil
}

// Set implements shoal.KV.
func (k *KV) Set(key string, value []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.values[key] = append([]byte{}, value...)
	return nil
}

// Delete implements shoal.KV.
func (k *KV) Delete(key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	delete(k.values, key)
	return nil
}

// Scan implements shoal.KV.
func (k *KV) Scan(prefix string) iter.Seq2[string, []byte] {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := maps.Clone(k.values) // Set replaces values, it never changes one
	return func(yield func(string, []byte) bool) {
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if strings.HasPrefix(key, prefix) && !yield(key, bytes.Clone(now[key])) {
				return
			}
		}
	}
}
