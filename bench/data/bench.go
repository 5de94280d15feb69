package data

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	fileBytes = 128 << 20
	piece     = 1 << 20 // of copying, and of hashing
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "data", Ours: "shoal", Rounds: 5,
		About: []string{
			fmt.Sprintf("A file of %d MiB of random bytes, another in each round, goes from one process to another over loopback into a new file. The clock runs from the request until the file is there under its name; then its SHA-256 is compared.", fileBytes>>20),
			"shoal: two complete nodes, members of one fabric, TLS over TCP; `get` from the holder's block store, every block verified.",
			"stream: plain go-libp2p hosts, TLS over TCP; the file is read and written in pieces of 1 MiB; nothing is verified.",
			"bitswap: boxo on the same plain hosts, 1 MiB raw leaves, both block stores in memory, imported before the clock starts, a new client for each transfer; FetchGraph of the whole graph in one session, then the file is written. 8 MiB outstanding per peer and messages of 1 MiB (its defaults of 1 MiB and 16 KiB are slower).",
			"bitswap-reader: the same, but the file is written while it is fetched (DagReader).",
			"Nobody syncs the new file. What shoal syncs for itself counts.",
		},
		Ratios: []rig.Ratio{
			{Name: "rate_vs_stream", Of: rig.Pair("shoal", "stream", "mb_per_s"), Target: rig.AtLeast(0.9)},
			{Name: "rate_vs_bitswap", Of: rig.Pair("shoal", "bitswap", "mb_per_s"), Target: rig.AtLeast(2)},
			{Name: "rate_vs_bitswap_reader", Of: rig.Pair("shoal", "bitswap-reader", "mb_per_s")},
			{Name: "cpu_vs_stream", Of: rig.Pair("shoal", "stream", "cpu_ms_per_mb")},
		},
		Roles: map[string]rig.Role{"hold": rig.As(hold), "fetch": rig.As(fetch)},
		Run:   run,
	}
}

// setup is what a worker is told.
type setup struct {
	Kind    string
	Dir     string
	Address string   // fetch: of the holder
	Files   []string // hold: what it will be asked for
	Bytes   uint64   // of each
}

// ready is what a worker says.
type ready struct {
	Address string
	Roots   []string // names of the files, for fetch
}

// transfer is an order: Name, into the new file Into.
type transfer struct {
	Name, Into string
}

// done is what came of it.
type done struct {
	Seconds float64
	SHA256  []byte
}

var names = []string{"shoal", "stream", "bitswap", "bitswap-reader"}

func run(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	files, sums, err := makeFiles(r)
	if err != nil {
		return err
	}
	type pair struct {
		hold, fetch *rig.Proc
		roots       []string
	}
	pairs := map[string]pair{}
	for _, kind := range names {
		if r.Skips(kind) {
			continue
		}
		var held ready
		s := setup{Kind: kind, Dir: filepath.Join(r.Work, kind+"-hold"), Files: files}
		hold, err := r.Procs.Start(ctx, "hold", rig.AnyCore, s, &held)
		if err != nil {
			return err
		}
		s = setup{Kind: kind, Dir: filepath.Join(r.Work, kind+"-fetch"), Address: held.Address, Bytes: fileBytes}
		fetch, err := r.Procs.Start(ctx, "fetch", rig.AnyCore, s, nil)
		if err != nil {
			return err
		}
		pairs[kind] = pair{hold, fetch, held.Roots}
	}
	r.Logf("data: %d files are held", len(files))
	return r.Turns(ctx, names, func(round int, kind string) error {
		p := pairs[kind]
		name := p.roots[round]
		if err := p.hold.Do(ctx, "prepare", transfer{Name: name}, nil); err != nil {
			return err
		}
		var d done
		before := rig.CPU(p.hold, p.fetch)
		if err := p.fetch.Do(ctx, "fetch", transfer{name, filepath.Join(r.Work, kind+".out")}, &d); err != nil {
			return err
		}
		used := rig.CPU(p.hold, p.fetch) - before
		if string(d.SHA256) != string(sums[round]) {
			return fmt.Errorf("what arrived is not what was sent")
		}
		r.Add(round, kind, "mb_per_s", fileBytes/1e6/d.Seconds)
		r.Add(round, kind, "cpu_ms_per_mb", used.Seconds()*1e3/(fileBytes/1e6))
		return p.fetch.Do(ctx, "clean", nil, nil)
	})
}

// makeFiles writes one file for each round.
func makeFiles(r *rig.Run) (files []string, sums [][]byte, err error) {
	start := time.Now()
	for round := range r.Rounds + 1 {
		rng := rand.NewChaCha8([32]byte{byte(r.Seed), byte(r.Seed >> 8), byte(round), byte(round >> 8), 'd'})
		b := make([]byte, fileBytes)
		rng.Read(b)
		name := filepath.Join(r.Work, fmt.Sprintf("file%02d", round))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return nil, nil, err
		}
		sum, err := sumOf(name)
		if err != nil {
			return nil, nil, err
		}
		files, sums = append(files, name), append(sums, sum)
	}
	r.Logf("data: files made in %.1f s", time.Since(start).Seconds())
	return files, sums, nil
}
