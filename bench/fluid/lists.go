package fluid

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

const (
	nodes = 5
	kib   = 1 << 10
	mib   = 1 << 20
)

// list is a list of jobs and what they need. Sets are datasets of one partition each.
type list struct {
	Name    string
	Modules []int64 // bytes that each is larger than the guest; module i is of node i % nodes, which alone has it
	Sets    []set
	Jobs    []job
}

type set struct {
	Bytes  int64
	Putter int // the node that puts it; its copies lie where the fabric wants them
}

// job is one task: a module over a set, asked for by a node.
type job struct{ Caller, Module, Set int }

// shapes of lists: how many modules each node has, and sets and jobs all have, how large code and data are, and how popular the
// most popular are. Bounds are of a log-uniform distribution.
var shapes = []struct {
	name                string
	modules, sets, jobs int
	code, data          [2]float64
	zipf                float64 // 0: all are as popular
}{
	{"big-code", 2, 40, 60, [2]float64{2 * mib, 4 * mib}, [2]float64{8 * kib, 64 * kib}, 0},
	{"big-data", 1, 12, 60, [2]float64{1 * kib, 64 * kib}, [2]float64{2 * mib, 4 * mib}, 0},
	{"skewed", 2, 30, 150, [2]float64{16 * kib, 1 * mib}, [2]float64{32 * kib, 6 * mib}, 1.2},
}

// draw draws the lists of a round; all policies get the same.
func draw(seed uint64, round int) (all []list) {
	for k, s := range shapes {
		rng := rand.New(rand.NewPCG(seed, uint64(round)<<8|uint64(k)))
		within := func(b [2]float64) int64 {
			return int64(b[0] * math.Pow(b[1]/b[0], rng.Float64()))
		}
		l := list{Name: s.name}
		for range s.modules * nodes {
			l.Modules = append(l.Modules, within(s.code))
		}
		for range s.sets {
			l.Sets = append(l.Sets, set{within(s.data), rng.IntN(nodes)})
		}
		popular := func(n int) func() int { return func() int { return rng.IntN(n) } }
		if s.zipf > 0 {
			popular = func(n int) func() int {
				z := rand.NewZipf(rng, s.zipf, 1, uint64(n-1))
				return func() int { return int(z.Uint64()) }
			}
		}
		module, data := popular(s.modules), popular(s.sets)
		for range s.jobs {
			caller := rng.IntN(nodes)
			l.Jobs = append(l.Jobs, job{caller, caller + nodes*module(), data()})
		}
		all = append(all, l)
	}
	return all
}

// noise is n bytes that nobody has seen before: of a list of a round, the i-th of a kind.
func noise(n int64, seed uint64, round int, list, kind string, i int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint32(key[8:], uint32(round))
	binary.LittleEndian.PutUint32(key[12:], uint32(i))
	copy(key[16:], kind[:1]+list)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// padded is a module with a custom section of so many bytes, as a large program's debug information: they must be there
// before it can be compiled.
func padded(module, pad []byte) []byte {
	section := append([]byte{3, 'p', 'a', 'd'}, pad...)
	out := append([]byte{}, module...)
	out = append(out, 0)
	out = binary.AppendUvarint(out, uint64(len(section)))
	return append(out, section...)
}
