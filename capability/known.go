package capability

import (
	"crypto/ed25519"
	"crypto/sha256"
	"sync"
	"sync/atomic"
)

// known are signatures that were found good, of all nodes of a process.
var known atomic.Pointer[signatures]

// signatures remembers so many; when there are more it begins anew.
type signatures struct {
	most int

	mu   sync.Mutex
	good map[[sha256.Size]byte]struct{}
}

// Remember has this process check each signature once, and remember the most recent of those that are good, about so many. It is
// for worlds: a thousand nodes in one process each check what each of the others signs. 0: none is remembered.
func Remember(most int) {
	if most <= 0 {
		known.Store(nil)
		return
	}
	known.Store(&signatures{most: most, good: map[[sha256.Size]byte]struct{}{}})
}

// verify is ed25519's, unless the answer is remembered.
func verify(pub ed25519.PublicKey, message, sig []byte) bool {
	s := known.Load()
	if s == nil {
		return ed25519.Verify(pub, message, sig)
	}
	h := sha256.New()
	h.Write(pub)
	h.Write(sig) // of a length that is always the same, as the key's is
	h.Write(message)
	id := [sha256.Size]byte(h.Sum(nil))
	s.mu.Lock()
	_, ok := s.good[id]
	s.mu.Unlock()
	if ok || !ed25519.Verify(pub, message, sig) {
		return ok
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.good) >= s.most {
		clear(s.good)
	}
	s.good[id] = struct{}{}
	return true
}
