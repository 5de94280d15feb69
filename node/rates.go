package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/devices"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/wire"
)

// Measuring the machine.
const (
	ratesKey     = "rates"
	measureAfter = 10 * time.Second       // once the node is up: the start is others' time
	gasRuns      = 3                      // of which the best counts: nothing makes a machine faster than it is
	gasFor       = 100 * time.Millisecond // each
	gasText      = 4 << 20                // bytes whose words are counted
)

// keptRates are measured rates with what they hold for.
type keptRates struct {
	Version string      `cbor:"v"`
	CPU     shoal.CPU   `cbor:"c"`
	Rates   shoal.Rates `cbor:"r"`
}

// knownRates returns what an earlier run of this node measured; zero if another version did, or on another processor.
func (n *Node) knownRates(c shoal.CPU) shoal.Rates {
	var k keptRates
	b, err := n.rooms.disk.KV("node").Get(ratesKey)
	if err != nil || wire.Unmarshal("rates", b, &k) != nil || k.Version != Version || !reflect.DeepEqual(k.CPU, c) {
		return shoal.Rates{}
	}
	return k.Rates
}

// calibrate measures the machine once, when nothing runs on it that is known of, and says and keeps what it found.
func (n *Node) calibrate(ctx context.Context) error {
	self := n.rooms.members.Self().Attributes
	if !n.cfg.Measure || self.Rates != (shoal.Rates{}) {
		return nil
	}
	for idle := false; !idle; {
		select {
		case <-time.After(cmp.Or(n.cfg.measureAfter, measureAfter)):
		case <-ctx.Done():
			return nil
		}
		l := n.load()
		idle = l.Running+l.Queued == 0
	}
	rates, err := n.measure(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		n.cfg.Log.Warn("node: this machine was measured in part only", "err", err)
	}
	n.cfg.Log.Info("node: measured this machine", "gas/s", rates.Gas, "memory GB/s", rates.Memory, "disk GB/s", rates.Disk)
	n.say(func(a *shoal.Attributes) { a.Rates = rates })
	if err != nil {
		return nil // the next start tries again
	}
	return n.rooms.disk.KV("node").Set(ratesKey, wire.Marshal(keptRates{Version, self.CPU, rates}))
}

func (n *Node) measure(ctx context.Context) (r shoal.Rates, err error) {
	dir, err := os.MkdirTemp(filepath.Join(n.cfg.Dir, "tasks", "scratch"), "rates")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	var slow error
	r.Gas, err = n.gasRate(ctx, dir)
	r.Memory, r.Disk, slow = devices.Measure(ctx, dir)
	debug.FreeOSMemory() // for what was copied, which is not needed again
	return r, errors.Join(shoal.Wrap(shoal.Unavailable, "speed of modules", err), slow)
}

// gasRate counts words in the sandbox, as a task would.
func (n *Node) gasRate(ctx context.Context, dir string) (best float64, err error) {
	module, _ := examples.Module("wordcount")
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(module) // SHA-256
	if err != nil {
		return 0, err
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := errors.Join(os.Mkdir(in, 0o700), os.Mkdir(out, 0o700)); err != nil {
		return 0, err
	}
	text := make([]byte, 0, gasText+16)
	for i := 0; len(text) < gasText; i++ {
		text = fmt.Appendf(text, "word%d ", i*i%4093)
	}
	if err := os.WriteFile(filepath.Join(in, "text"), text, 0o600); err != nil {
		return 0, err
	}
	if _, err := n.rooms.sandbox.Compile(ctx, c, module); err != nil {
		return 0, err
	}
	for range gasRuns {
		ran, err := n.rooms.sandbox.Run(ctx, shoal.Run{
			Module: c, Args: []string{"wordcount"}, Data: os.DirFS(in), Out: out, Stdout: io.Discard, Stderr: io.Discard,
			Limits: shoal.Limits{Time: gasFor},
		})
		if err != nil && shoal.KindOf(err) != shoal.Failed { // that its time was over says no more than the gas it used
			return best, err
		}
		if ran.Seconds > 0 {
			best = max(best, float64(ran.Gas)/ran.Seconds)
		}
	}
	if best == 0 {
		err = errors.New("the module used no gas")
	}
	return best, err
}
