package rig

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// Bench is one benchmark.
type Bench struct {
	Name   string
	Ours   string   // the kind of our samples; all others are peers
	Rounds int      // by default, the dropped one apart; Options.Long takes five times as many
	About  []string // what a reader must know of the set-up: peers' settings above all
	Ratios []Ratio  // computed from the samples
	// Table makes the report's second table: its head and its rows. nil: every figure has a row.
	Table func(Samples) [][]string
	Roles map[string]Role // what worker processes can be
	Run   func(ctx context.Context, r *Run) error
}

// Options say how to run a benchmark.
type Options struct {
	Seed   uint64
	Rounds int // 0: the benchmark's own number
	Long   bool
	Only   []string  // measure these kinds alone, for tuning; nil: all
	Work   string    // a directory for scratch files, on a disk
	Log    io.Writer // progress
	// Profile is a directory to which each worker writes a CPU profile of its life; "": none.
	Profile string
}

// Run is one run of a benchmark.
type Run struct {
	Options
	Procs   *Procs
	Samples Samples
	Notes   []string // figures in words that are no ratios
}

// Measure runs b and returns what came of it.
func Measure(ctx context.Context, b *Bench, o Options) (*Result, error) {
	if o.Rounds == 0 {
		if o.Rounds = b.Rounds; o.Long {
			o.Rounds *= 5
		}
	}
	begun := time.Now()
	machine, err := Look(o.Work)
	if err != nil {
		return nil, err
	}
	r := &Run{Options: o, Procs: &Procs{bench: b.Name, log: o.Log, profile: o.Profile}}
	err = b.Run(ctx, r)
	r.Procs.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name, err)
	}
	res := Compute(b, r.Samples)
	res.Seed, res.Rounds, res.Notes, res.Machine = o.Seed, o.Rounds, r.Notes, machine
	res.Seconds = time.Since(begun).Seconds()
	return res, nil
}

// Logf tells progress.
func (r *Run) Logf(format string, args ...any) {
	fmt.Fprintf(r.Log, format+"\n", args...)
}

// Note keeps a sentence for the report.
func (r *Run) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Add keeps one sample.
func (r *Run) Add(round int, kind, field string, value float64) {
	r.Samples = append(r.Samples, Sample{round, kind, field, value})
}

// Skips reports whether kind is not to be measured.
func (r *Run) Skips(kind string) bool { return r.Only != nil && !slices.Contains(r.Only, kind) }

// Turns calls measure for each kind in each round, in an order drawn from the seed. Round 0 warms up: its
// samples are dropped.
func (r *Run) Turns(ctx context.Context, kinds []string, measure func(round int, kind string) error) error {
	for round := range r.Rounds + 1 {
		order := slices.Clone(kinds)
		rng := rand.New(rand.NewPCG(r.Seed, uint64(round)))
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		before := len(r.Samples)
		for _, kind := range order {
			if r.Skips(kind) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := measure(round, kind); err != nil {
				return fmt.Errorf("%s, round %d: %w", kind, round, err)
			}
		}
		if round == 0 {
			r.Samples = r.Samples[:before]
		}
	}
	return nil
}
