package turn

import (
	"cmp"
	"iter"
	"slices"
	"sort"

	"github.com/shoal-fabric/shoal"
)

// Pipe shows the state as it will be once all turns that were proposed are committed: the next turn runs on
// it, while the replies of those before wait. When leadership is lost all of it is dropped, and the state is
// what the log says. One goroutine at a time may use a Pipe.
type Pipe struct {
	view   View
	layers []layer          // not applied yet, in order
	cells  map[string]cell  // the newest of all layers
	sorted []string         // keys of cells, nil: to be made
	known  map[string]Write // some of the applied state, as last written: what every turn reads is not looked up anew
}

type layer struct {
	index  uint64
	writes []Write
}

type cell struct {
	index uint64
	write Write
}

// NewPipe returns a pipe on an applied state.
func NewPipe(applied View) *Pipe {
	return &Pipe{view: applied, cells: map[string]cell{}, known: map[string]Write{}}
}

// What of the applied state is remembered at most.
const (
	knownKeys  = 16
	knownBytes = 1 << 10 // of one key and value
)

// know remembers what was applied.
func (p *Pipe) know(w Write) {
	if first := w.Key[0]; first != ofMeta && first != ofSession && first != ofUser {
		return // replies are seldom read
	}
	if len(w.Key)+len(w.Value) > knownBytes {
		delete(p.known, string(w.Key))
		return
	}
	if _, ok := p.known[string(w.Key)]; !ok && len(p.known) >= knownKeys {
		clear(p.known)
	}
	p.known[string(w.Key)] = w
}

// Push stages e, proposed at index of the log, which is greater than those before, and returns what applying
// it will do.
func (p *Pipe) Push(index uint64, e *Entry) ([]Write, error) {
	list, err := Mutations(p, e)
	if err != nil {
		return nil, err
	}
	p.layers = append(p.layers, layer{index, list})
	for _, w := range list {
		if _, ok := p.cells[string(w.Key)]; !ok {
			p.sorted = nil
		}
		p.cells[string(w.Key)] = cell{index, w}
	}
	return list, nil
}

// Applied tells that the applied state has all entries up to index.
func (p *Pipe) Applied(index uint64) {
	for len(p.layers) > 0 && p.layers[0].index <= index {
		for _, w := range p.layers[0].writes {
			if p.cells[string(w.Key)].index <= index {
				delete(p.cells, string(w.Key))
				p.sorted = nil
			}
			p.know(w)
		}
		p.layers = p.layers[1:]
	}
}

// Staged returns what applying the entry at an index will do, if it is staged.
func (p *Pipe) Staged(index uint64) ([]Write, bool) {
	i, ok := slices.BinarySearchFunc(p.layers, index, func(l layer, index uint64) int { return cmp.Compare(l.index, index) })
	if !ok {
		return nil, false
	}
	return p.layers[i].writes, true
}

// Depth returns the number of entries that are not applied yet, and the index of the last.
func (p *Pipe) Depth() (n int, last uint64) {
	if n = len(p.layers); n > 0 {
		last = p.layers[n-1].index
	}
	return n, last
}

// Reset drops all that is staged.
func (p *Pipe) Reset() { p.layers, p.cells, p.sorted = nil, map[string]cell{}, nil }

// Get implements View.
func (p *Pipe) Get(key []byte) ([]byte, bool, error) {
	if c, ok := p.cells[string(key)]; ok {
		return c.write.Value, !c.write.Delete, nil
	}
	return p.applied(key)
}

func (p *Pipe) applied(key []byte) ([]byte, bool, error) {
	if w, ok := p.known[string(key)]; ok {
		return w.Value, !w.Delete, nil
	}
	return p.view.Get(key)
}

// Settled shows the applied state, without what is staged.
func (p *Pipe) Settled() View { return settled{p} }

type settled struct{ p *Pipe }

func (s settled) Get(key []byte) ([]byte, bool, error) { return s.p.applied(key) }

func (s settled) Scan(low, high []byte) iter.Seq2[[]byte, Cell] { return s.p.view.Scan(low, high) }

// Scan implements View.
func (p *Pipe) Scan(low, high []byte) iter.Seq2[[]byte, Cell] {
	if len(p.cells) == 0 {
		return p.view.Scan(low, high)
	}
	if p.sorted == nil {
		p.sorted = make([]string, 0, len(p.cells))
		for k := range p.cells {
			p.sorted = append(p.sorted, k)
		}
		slices.Sort(p.sorted)
	}
	return overlay(p.view.Scan(low, high), p.sorted, low, high, func(k string) Write { return p.cells[k].write })
}

// overlay merges writes, whose keys are sorted, over a scan.
func overlay(base iter.Seq2[[]byte, Cell], keys []string, low, high []byte, get func(string) Write) iter.Seq2[[]byte, Cell] {
	from := sort.SearchStrings(keys, string(low))
	to := len(keys)
	if high != nil {
		to = sort.SearchStrings(keys, string(high))
	}
	mine := keys[from:max(from, to)]
	return func(yield func([]byte, Cell) bool) {
		mine := mine
		next := func() bool { // yields the first of mine
			k := mine[0]
			mine = mine[1:]
			w := get(k)
			return w.Delete || yield([]byte(k), Cell{Value: w.Value})
		}
		for k, c := range base {
			if c.Err != nil {
				yield(nil, c)
				return
			}
			for len(mine) > 0 && mine[0] < string(k) {
				if !next() {
					return
				}
			}
			if len(mine) > 0 && mine[0] == string(k) {
				if !next() {
					return
				}
				continue
			}
			if !yield(k, c) {
				return
			}
		}
		for len(mine) > 0 {
			if !next() {
				return
			}
		}
	}
}

var _ shoal.State = (*Stage)(nil)
