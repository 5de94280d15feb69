package shoaltest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Guest is a program that the Runner double runs. It may use all of r but r.Limits, and should end
// with ctx, which carries the time limit.
type Guest func(ctx context.Context, r shoal.Run) (exit int, err error)

// Runner is a shoal.Runner whose modules are Go functions. It knows the modules that were registered
// and refuses other bytes as no WebAssembly; compiling one only makes it ready.
type Runner struct {
	mu       sync.Mutex
	guests   map[cid.Cid]registered
	ready    map[cid.Cid]bool
	compiled int
	runs     int
	running  int
	took     time.Duration
}

type registered struct {
	info  shoal.ModuleInfo
	guest Guest
}

var _ shoal.Runner = (*Runner)(nil)

// NewRunner returns a Runner that knows no module.
func NewRunner() *Runner {
	return &Runner{guests: map[cid.Cid]registered{}, ready: map[cid.Cid]bool{}}
}

// Register has the bytes wasm, whatever they are, stand for g, and returns their CID. The module is a
// command; a nil g makes it a reactor, which cannot be run.
func (r *Runner) Register(wasm []byte, g Guest) cid.Cid {
	info := shoal.ModuleInfo{Kind: "command", Bytes: len(wasm), Exports: []string{"_start"}}
	info.Memory, info.MaxMem = 64<<10, 4<<30
	if g == nil {
		info.Kind, info.Exports = "reactor", []string{"_initialize", "turn"}
	}
	c := shoal.BlockCID(wasm)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[c] = registered{info, g}
	return c
}

// SetCompileTime has each compilation take d.
func (r *Runner) SetCompileTime(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took = d
}

// Forget has the runner compile anew what it compiled, as if its cache were lost.
func (r *Runner) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ready)
}

// Counts says how many modules were compiled, how many runs were begun, and how many go on now.
func (r *Runner) Counts() (compiled, runs, running int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.compiled, r.runs, r.running
}

// Compile implements shoal.Runner.
func (r *Runner) Compile(ctx context.Context, c cid.Cid, wasm []byte) (shoal.ModuleInfo, error) {
	what := "module " + c.String()
	r.mu.Lock()
	g, known := r.guests[shoal.BlockCID(wasm)]
	if own, ok := r.guests[c]; ok && r.ready[c] {
		r.mu.Unlock()
		return own.info, nil
	}
	took := r.took
	r.mu.Unlock()
	switch {
	case !known:
		return shoal.ModuleInfo{}, shoal.E(shoal.Invalid, what,
			fmt.Sprintf("not WebAssembly: starts with %q", wasm[:min(len(wasm), 8)]), "")
	case c.Prefix().Codec == cid.Raw && !c.Equals(shoal.BlockCID(wasm)):
		return shoal.ModuleInfo{}, shoal.E(shoal.Corrupt, what, "the bytes do not match the CID", "")
	}
	if took > 0 {
		t := time.NewTimer(took)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return g.info, shoal.Wrap(shoal.Internal, what, ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready[c] {
		r.guests[c] = g
		r.ready[c] = true
		r.compiled++
	}
	return g.info, nil
}

// Ready implements shoal.Runner.
func (r *Runner) Ready(c cid.Cid) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ready[c]
}

// Run implements shoal.Runner. A guest that panics has trapped. The time limit ends the guest's
// context; the output limit is checked at its end; the memory limit is the guest's own affair.
func (r *Runner) Run(ctx context.Context, run shoal.Run) (ran shoal.Ran, err error) {
	what := "module " + run.Module.String()
	r.mu.Lock()
	g := r.guests[run.Module]
	switch {
	case !r.ready[run.Module]:
		err = shoal.E(shoal.NotFound, what, "was not compiled on this node", "")
	case g.info.Kind != "command":
		err = shoal.E(shoal.Invalid, what, "it has no _start: it is a "+g.info.Kind, "")
	default:
		r.runs++
		r.running++
	}
	r.mu.Unlock()
	if err != nil {
		return ran, err
	}
	began := time.Now()
	defer func() {
		ran.Seconds = time.Since(began).Seconds()
		r.mu.Lock()
		r.running--
		r.mu.Unlock()
	}()
	inner := ctx
	if run.Limits.Time > 0 {
		var cancel context.CancelFunc
		inner, cancel = context.WithTimeout(ctx, run.Limits.Time)
		defer cancel()
	}
	exit, err := guarded(inner, g.guest, run)
	switch {
	case ctx.Err() != nil && (err != nil || exit != 0):
		return ran, shoal.Wrap(shoal.Internal, what, ctx.Err())
	case inner.Err() != nil && (err != nil || exit != 0):
		return ran, shoal.E(shoal.Failed, what, fmt.Sprintf("time limit of %s reached", run.Limits.Time), "")
	case err != nil:
		var e *shoal.Error
		if errors.As(err, &e) {
			return ran, shoal.Wrap(shoal.Failed, what, err)
		}
		return ran, shoal.E(shoal.Failed, what, "trap: "+err.Error(), "")
	}
	if most := run.Limits.Output; most > 0 && run.Out != "" && bytesUnder(run.Out) > most {
		return ran, shoal.E(shoal.Failed, what, fmt.Sprintf("output limit of %d bytes under /out reached", most), "")
	}
	ran.Exit = exit
	return ran, nil
}

func guarded(ctx context.Context, g Guest, r shoal.Run) (exit int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return g(ctx, r)
}

func bytesUnder(dir string) (n uint64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if st, err := os.Lstat(path); err == nil {
				n += uint64(st.Size())
			}
		}
		return nil
	})
	return n
}
