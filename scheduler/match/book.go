package match

import (
	"sync"

	"github.com/shoal-fabric/shoal"
)

// Book remembers requirements, compiled, by their text. The zero Book is ready; any number of goroutines may use it.
type Book struct {
	mu   sync.Mutex
	list map[string]*Needs
}

const maxBook = 256

// Get compiles a requirement; "" asks for nothing. Invalid: it is malformed.
func (b *Book) Get(src string) (*Needs, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.list[src]; n != nil {
		return n, nil
	}
	n, err := Compile(src, shoal.Limits{})
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "requirements", err)
	}
	if b.list == nil || len(b.list) >= maxBook {
		b.list = map[string]*Needs{}
	}
	b.list[src] = n
	return n, nil
}
