// Command gokernels are the Go programs of the gas benchmark, built for wasip1: gokernels NAME SIZE.
package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	run, ok := kernels()[os.Args[1]]
	if err != nil || !ok {
		os.Exit(3)
	}
	// The host takes the time between the two lines, so that neither loading nor exit counts.
	fmt.Println("begin")
	fmt.Printf("end %x\n", run(n))
}

func kernels() map[string]func(n int) uint64 {
	return map[string]func(int) uint64{
		"json": parseJSON, "sort": sortInts, "map": countWords, "sha256": hash, "matmul": matmul, "trees": trees,
		"flate": deflate, "wait": wait,
	}
}

// wait lives until the host closes its input.
func wait(n int) uint64 {
	b, _ := io.ReadAll(os.Stdin)
	return uint64(len(b) + n)
}

func rng() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

type record struct {
	ID    int                `json:"id"`
	Name  string             `json:"name"`
	Tags  []string           `json:"tags"`
	Marks map[string]float64 `json:"marks"`
}

func parseJSON(n int) uint64 {
	var in []record
	for i := range 200 {
		in = append(in, record{i, fmt.Sprint("name ", i), []string{"a", "bb", "ccc"}, map[string]float64{"x": float64(i) / 3, "y": 2}})
	}
	text, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	sum := 0
	for range n {
		var out []record
		var loose any
		if json.Unmarshal(text, &out) != nil || json.Unmarshal(text, &loose) != nil {
			panic("json")
		}
		sum += len(out) + len(loose.([]any))
	}
	return uint64(sum)
}

func sortInts(n int) uint64 {
	r, v := rng(), make([]uint64, n)
	for i := range v {
		v[i] = r.Uint64()
	}
	slices.Sort(v)
	return v[n/2]
}

func countWords(n int) uint64 {
	r, count := rng(), map[string]int{}
	for range n {
		count["word "+strconv.Itoa(r.IntN(2000))]++
	}
	return uint64(len(count))
}

func hash(n int) uint64 {
	b, sum := make([]byte, 64<<10), [32]byte{}
	for range n {
		copy(b, sum[:])
		sum = sha256.Sum256(b)
	}
	return uint64(sum[0])
}

func matmul(n int) uint64 {
	a, b, c := make([]float64, n*n), make([]float64, n*n), make([]float64, n*n)
	for i := range a {
		a[i], b[i] = float64(i%7), float64(i%5)
	}
	for i := range n {
		for k := range n {
			x, to, from := a[i*n+k], c[i*n:(i+1)*n], b[k*n:(k+1)*n]
			for j := range to {
				to[j] += x * from[j]
			}
		}
	}
	sum := 0.0
	for _, x := range c {
		sum += x
	}
	return uint64(sum)
}

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) size() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.size() + t.right.size()
}

// trees allocates, and has the collector work.
func trees(n int) uint64 {
	sum := 0
	for range n {
		sum += grow(12).size()
	}
	return uint64(sum)
}

func deflate(n int) uint64 {
	r, text := rng(), make([]byte, n)
	for i := range text {
		text[i] = "etaoin shrdlu"[r.IntN(13)]
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 6)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(text)
	_ = w.Close()
	back, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed.Bytes())))
	if err != nil || !bytes.Equal(back, text) {
		panic("flate")
	}
	return uint64(packed.Len())
}
