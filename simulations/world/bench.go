package world

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// work is what a task of a load is told to do, as its second argument.
type work struct {
	Gas     float64 `json:"g"`
	PerByte float64 `json:"b"`
	Result  uint64  `json:"r"`
	Name    uint64  `json:"n"` // makes its result another than that of others
}

// bench runs the tasks of loads: what they compute takes gas over the machine's rate of virtual time. The sandbox runs no
// other tasks in a world.
type bench struct {
	shoal.Runner // native executors are behind it
	m            *machine

	mu    sync.Mutex
	ready map[string]bool
}

// Compile looks whether the module is one, and takes the time that compiling would.
func (b *bench) Compile(ctx context.Context, c cid.Cid, wasm []byte) (shoal.ModuleInfo, error) {
	info, err := sandbox.Inspect(wasm)
	if err != nil {
		return info, err
	}
	wait := time.NewTimer(time.Duration(float64(b.m.class.Compile(uint64(len(wasm)))) * b.m.slowCPU.get()))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return info, shoal.Wrap(shoal.Canceled, "compile", ctx.Err())
	}
	b.mu.Lock()
	b.ready[c.KeyString()] = true
	b.mu.Unlock()
	return info, nil
}

// Ready implements shoal.Runner.
func (b *bench) Ready(c cid.Cid) bool {
	if _, ok := shoal.ExecName(c); ok {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready[c.KeyString()]
}

// Run implements shoal.Runner.
func (b *bench) Run(ctx context.Context, r shoal.Run) (shoal.Ran, error) {
	if _, ok := shoal.ExecName(r.Module); ok {
		return b.Runner.Run(ctx, r)
	}
	return b.m.run(ctx, r, b.m.class.Gas/b.m.slowCPU.get())
}

// compute is what a task does with a graphics processor that it has.
func (m *machine) compute(ctx context.Context, r shoal.Run, devices []reserve.Device) (shoal.Ran, error) {
	rate := 0.0
	for _, g := range m.class.GPUs {
		if len(devices) > 0 && g.Vendor == devices[0].Vendor {
			rate = max(rate, g.Rate)
		}
	}
	begun := time.Now()
	ran, err := m.run(ctx, r, rate/m.slowGPU.get())
	m.w.tally.gpu(time.Since(begun) * time.Duration(len(devices)))
	ran.Gas = 0 // it is not counted of native programs
	return ran, err
}

// run spends a task's gas at a rate, and leaves its result.
func (m *machine) run(ctx context.Context, r shoal.Run, rate float64) (ran shoal.Ran, err error) {
	var w work
	if len(r.Args) < 2 || json.Unmarshal([]byte(r.Args[1]), &w) != nil {
		return ran, shoal.E(shoal.Invalid, "task", "it is none of a load", "")
	}
	gas := w.Gas
	if w.PerByte > 0 && r.Data != nil {
		n, err := size(r.Data)
		if err != nil {
			return ran, shoal.Wrap(shoal.Internal, "read its input", err)
		}
		gas += w.PerByte * float64(n)
	}
	if rate <= 0 {
		return ran, shoal.E(shoal.Refused, "task", "this node has nothing to compute it on", "")
	}
	begun := time.Now()
	limit := r.Limits.Time
	if limit <= 0 {
		limit = time.Hour
	}
	take := time.Duration(min(gas/rate, limit.Seconds()) * 1e9)
	wait := time.NewTimer(take)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ran, shoal.Wrap(shoal.Canceled, "task", ctx.Err())
	}
	ran.Seconds, ran.Gas = time.Since(begun).Seconds(), uint64(gas)
	if gas/rate > limit.Seconds() {
		return ran, shoal.E(shoal.Failed, "task", "time limit of "+limit.String()+" reached", "")
	}
	if w.Result > 0 && r.Out != "" {
		err = os.WriteFile(filepath.Join(r.Out, "result"), noise(w.Result, w.Name), 0o600)
	}
	return ran, shoal.Wrap(shoal.Internal, "leave the result", err)
}

// size adds up the bytes of files.
func size(f fs.FS) (n int64, err error) {
	err = fs.WalkDir(f, ".", func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				n += info.Size()
			}
		}
		return err
	})
	return n, err
}

// noise is n bytes that no other name has.
func noise(n, name uint64) []byte {
	r := rand.New(rand.NewPCG(name, n))
	b := make([]byte, 0, n+8)
	for uint64(len(b)) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// programme is a module of about n bytes that does nothing, and is another for each name. All of it is code, as far as those look who
// tell from its code how long compiling takes.
func programme(n, name uint64) []byte {
	const unit, most = 7, 64 << 10 // bytes of "i32.const, drop"; of a function
	dice := rand.New(rand.NewPCG(name, n))
	var bodies [][]byte
	for left := max(n, 128) - 64; left > unit+8; {
		body := []byte{0} // no locals
		for room := min(left, most) - 8; room >= unit; room -= unit {
			x := dice.Uint32()
			body = append(body, 0x41, 0x80|byte(x), 0x80|byte(x>>7), 0x80|byte(x>>14), 0x80|byte(x>>21), byte(x>>28)&7, 0x1a)
		}
		body = append(body, 0x0b)
		left -= min(left, uint64(len(body))+4)
		bodies = append(bodies, body)
	}
	section := func(b []byte, id byte, body []byte) []byte {
		return append(binary.AppendUvarint(append(b, id), uint64(len(body))), body...)
	}
	types, code := binary.AppendUvarint(nil, uint64(len(bodies)+1)), binary.AppendUvarint(nil, uint64(len(bodies)+1))
	types = append(types, make([]byte, len(bodies)+1)...) // all of the one type
	code = append(code, 2, 0, 0x0b)                       // the first is _start, and ends at once
	for _, body := range bodies {
		code = append(binary.AppendUvarint(code, uint64(len(body))), body...)
	}
	b := section([]byte("\x00asm\x01\x00\x00\x00"), 1, []byte{1, 0x60, 0, 0}) // no parameters, no results
	b = section(section(b, 3, types), 7, append([]byte{1, 6}, "_start\x00\x00"...))
	b = section(b, 10, code)
	pad := max(n, uint64(len(b))+4) - uint64(len(b)) - 2 // so that it has the very size: less than 128 bytes
	return section(b, 0, append([]byte{1, 'p'}, noise(pad-2, name)...))
}

// agentCode is the code of the agents of scenarios.
const agentCode = agents.NativeCode + "ledger"

// ledger is the behaviour of a scenario's agents: a counter, with state of some size, that reads datasets.
type ledger struct{}

// reading is what a call reads of a dataset.
type reading struct {
	Data   string `json:"d"`
	Offset int64  `json:"o"`
	Bytes  int    `json:"n"`
}

// Methods implements shoal.Behaviour.
func (ledger) Methods() []string { return []string{"add", "fill", "get"} }

// Open implements shoal.Behaviour.
func (ledger) Open(context.Context) (shoal.Instance, error) { return ledger{}, nil }

// Broken implements shoal.Instance.
func (ledger) Broken() bool { return false }

// Close implements shoal.Instance.
func (ledger) Close() {}

// Turn implements shoal.Instance. fill: the payload is how many bytes of state there are to be. add and get: it may begin with a
// line that says what to read.
func (ledger) Turn(ctx context.Context, t *shoal.Turn) ([]byte, error) {
	if t.Method == "fill" {
		n, err := strconv.ParseUint(string(t.Payload), 10, 63)
		for at := uint64(0); err == nil && at < n; at += 512 << 10 {
			err = t.State.Put(fmt.Appendf(nil, "pad %d", at), noise(min(n-at, 512<<10), at))
		}
		return nil, err
	}
	if err := read(ctx, t); err != nil {
		return nil, err
	}
	v, _, err := t.State.Get([]byte("count"))
	n := uint64(0)
	if len(v) == 8 {
		n = binary.LittleEndian.Uint64(v)
	}
	if err == nil && t.Method == "add" {
		n++
		err = t.State.Put([]byte("count"), binary.LittleEndian.AppendUint64(nil, n))
	}
	return strconv.AppendUint(nil, n, 10), err
}

// read reads what a call's payload says.
func read(ctx context.Context, t *shoal.Turn) error {
	var r reading
	if len(t.Payload) == 0 || t.Payload[0] != '{' || json.Unmarshal(line(t.Payload), &r) != nil || r.Bytes <= 0 || t.Data == nil {
		return nil
	}
	b := make([]byte, min(r.Bytes, 1<<20))
	for left := r.Bytes; left > 0; {
		n, err := t.Data.Read(ctx, r.Data, "", r.Offset, b[:min(left, len(b))])
		if err != nil {
			return err
		}
		if n == 0 {
			return nil // the end
		}
		left, r.Offset = left-n, r.Offset+int64(n)
	}
	return nil
}

func line(b []byte) []byte {
	for i, c := range b {
		if c == '\n' {
			return b[:i]
		}
	}
	return b
}
