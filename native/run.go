package native

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// Run runs the executor that r.Module names and waits until all of its processes are gone. It is the Run of a
// shoal.Runner: r.Args follow the command's own, but for the first, which is a name; r.Data is unpacked into
// the folder "data" of the command's working folder, "out" there is r.Out. r.Env is added, r.Seed and r.Call
// are of no use. A command that ends with a non-zero exit code is no error.
//
// Failed: it was killed, or met a limit. Overloaded: its devices are taken, and stayed so. Unavailable: there is no such
// executor, the device went away, or the command cannot be started. Refused: it asks for more than it may have,
// or than there is. Invalid: it asks for what makes no sense here, a limit on gas.
func (n *Native) Run(ctx context.Context, r shoal.Run) (ran shoal.Ran, err error) {
	return n.run(ctx, r, false)
}

// run is Run. stays: there is no limit to its time.
func (n *Native) run(ctx context.Context, r shoal.Run, stays bool) (ran shoal.Ran, err error) {
	name, _ := shoal.ExecName(r.Module)
	x, err := n.executor(name)
	if err != nil {
		return ran, err
	}
	return n.execute(ctx, x, r, stays)
}

// execute is run of an executor.
func (n *Native) execute(ctx context.Context, x Executor, r shoal.Run, stays bool) (ran shoal.Ran, err error) {
	what := shoal.ExecPrefix + x.Name
	if !n.begin() {
		return ran, shoal.E(shoal.Unavailable, what, "this node is stopping", "try another node")
	}
	defer n.work.Done()
	b, err := n.bounds(x, r.Limits)
	if err != nil {
		return ran, shoal.Wrap(shoal.Refused, what, err)
	}
	if stays {
		b.Time = forever
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	stop := context.AfterFunc(n.alive, func() { end(shoal.E(shoal.Unavailable, "", "this node is stopping", "try another node")) })
	defer stop()

	if n.cfg.Simulate != nil {
		ran, err := n.simulate(ctx, x, r, end)
		return ran, shoal.Wrap(shoal.Internal, what, err)
	}
	dir, err := os.MkdirTemp(n.cfg.Dir, x.Name+"-")
	if err != nil {
		return ran, shoal.Wrap(diskKind(err), what+": make its folder", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil {
			n.cfg.Log.Warn("a native task's folder stays", "folder", dir, "error", e)
		}
	}()
	links, err := lay(ctx, r, dir)
	if err != nil {
		return ran, shoal.Wrap(diskKind(err), what+": lay out its input", err)
	}
	h, err := n.take(ctx, x.Devices, end)
	if err != nil {
		return ran, shoal.Wrap(shoal.Overloaded, what, err)
	}
	defer n.give(h)
	for _, d := range h.grant.Devices {
		ran.Devices = append(ran.Devices, d.ID)
	}
	c := &call{n: n, x: x, run: r, caps: b, dir: dir, ctx: ctx, end: end, tail: &tail{w: r.Stderr}}
	err = c.do(h.grant, &ran)
	if file := changed(links); err == nil && file != "" {
		err = shoal.E(shoal.Corrupt, file, "it changed while a program read it where it lies", "put it again, and run it again")
	}
	if (err != nil || ran.Exit != 0) && len(ran.Devices) > 0 && ctx.Err() == nil { // was it the device?
		n.look(ctx, 0)
		if why := n.lost(h); why != "" {
			err = lostDevice(why)
		}
	}
	return ran, shoal.Wrap(shoal.Internal, what, err)
}

// simulate runs no command, with devices taken as for one.
func (n *Native) simulate(ctx context.Context, x Executor, r shoal.Run, end context.CancelCauseFunc) (shoal.Ran, error) {
	h, err := n.take(ctx, x.Devices, end)
	if err != nil {
		return shoal.Ran{}, err
	}
	defer n.give(h)
	ran, err := n.cfg.Simulate(ctx, r, h.grant.Devices)
	for _, d := range h.grant.Devices {
		ran.Devices = append(ran.Devices, d.ID)
	}
	return ran, err
}

// bounds are the limits of a run: the operator's, or less.
func (n *Native) bounds(x Executor, l shoal.Limits) (shoal.Limits, error) {
	most := shoal.Limits{Memory: x.Memory, Time: x.Time, Output: x.Output}
	fill(&most.Time, n.cfg.Time)
	fill(&most.Output, n.cfg.Output)
	switch {
	case l.Gas > 0:
		return l, shoal.E(shoal.Invalid, "", "gas is not counted of native programs", "limit its time instead")
	case most.Memory > 0 && l.Memory > most.Memory:
		return l, shoal.E(shoal.Refused, "", fmt.Sprintf("it asks for %s of memory, this node gives %s at most", shoal.Size(l.Memory), shoal.Size(most.Memory)),
			"ask for less, or run it on another node")
	}
	for _, p := range [][2]*uint64{{&l.Memory, &most.Memory}, {&l.Output, &most.Output}} {
		if *p[0] == 0 || *p[1] > 0 && *p[0] > *p[1] {
			*p[0] = *p[1]
		}
	}
	if l.Time == 0 || l.Time > most.Time {
		l.Time = most.Time
	}
	return l, nil
}

// lay makes the command's working folder.
func lay(ctx context.Context, r shoal.Run, dir string) (links []linked, err error) {
	for _, sub := range []string{"data", "home"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if r.Out != "" {
		if err := os.Symlink(r.Out, filepath.Join(dir, "out")); err != nil {
			return nil, err
		}
	}
	if r.Data == nil {
		return nil, nil
	}
	return unpack(ctx, r.Data, filepath.Join(dir, "data"))
}

// call is one run of a command.
type call struct {
	n    *Native
	x    Executor
	run  shoal.Run
	caps shoal.Limits
	dir  string
	ctx  context.Context
	end  context.CancelCauseFunc
	tail *tail
}

// do starts a ward and waits for its end.
func (c *call) do(g reserve.Grant, ran *shoal.Ran) error {
	in, charges, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	defer charges.Close()
	words, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer words.Close()
	defer out.Close()
	cmd := c.n.cfg.Helper(context.Background()) // its end is told through the pipe
	apart(cmd)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = c.dir, c.environment(g), []*os.File{in, out}
	var said streams
	defer said.close()
	if cmd.Stdout, err = said.to(c.run.Stdout, c.end); err != nil {
		return err
	}
	if cmd.Stderr, err = said.to(c.tail, c.end); err != nil {
		return err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return shoal.Wrap(shoal.Unavailable, "start it", err)
	}
	began := time.Now()
	in.Close()
	out.Close()
	said.begun()
	b, err := json.Marshal(charge{Command: c.command(), Grace: c.n.cfg.Grace, Caps: caps{
		Memory: c.caps.Memory, Processes: c.x.Processes, File: c.caps.Output + 1, // a byte more, so that who was stopped there is seen to be beyond it
	}})
	if err == nil {
		_, err = charges.Write(append(b, '\n'))
	}
	if err != nil {
		charges.Close() // the ward ends
	}
	go feed(stdin, c.run.Stdin)

	late := limit(fmt.Sprintf("time limit of %s reached", c.caps.Time), "raise the limit, or give it less to do")
	timer := time.AfterFunc(c.caps.Time+startWait, func() { c.end(late) })
	var last word
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		last = listen(words, func() { // the time is the command's, not the ward's
			began = time.Now()
			timer.Reset(c.caps.Time)
		})
	}()
	watching, stop := context.WithCancel(c.ctx)
	var side sync.WaitGroup
	if len(g.Devices) > 0 {
		side.Go(func() { c.n.watchDevices(watching) })
	}
	if c.run.Out != "" {
		side.Go(func() { watchOut(watching, c.run.Out, c.caps.Output, c.n.cfg.Files, c.end) })
	}
	select {
	case <-heard:
	case <-c.ctx.Done():
		_, _ = charges.Write([]byte{'T'}) // if it is gone, so is the command
		<-heard
	}
	if !last.Ended { // the ward was killed
		endGroup(last.Group)
	}
	_ = cmd.Wait() // what matters was told
	said.rest(c.ctx)
	timer.Stop()
	stop()
	side.Wait()
	ran.Seconds, ran.Bounds = time.Since(began).Seconds(), last.Bounds
	if context.Cause(c.ctx) == error(late) {
		ran.Over = max(0, time.Since(began)-c.caps.Time).Seconds()
	}
	return c.verdict(last, ran)
}

// startWait is how long a ward may take, on a busy machine, until the command is there.
const startWait = time.Minute

// verdict says what became of the command.
func (c *call) verdict(w word, ran *shoal.Ran) error {
	if cause := context.Cause(c.ctx); cause != nil {
		var own *shoal.Error
		if errors.As(cause, &own) && own.Kind == shoal.Failed {
			return c.tail.add(own)
		}
		return cause
	}
	switch {
	case w.Fail != "":
		return shoal.E(shoal.Unavailable, "", "it cannot be started: "+w.Fail, "see to it on that node")
	case !w.Ended:
		return shoal.E(shoal.Unavailable, "", "the process that watched over it was killed", "try again")
	case w.Memory:
		return c.tail.add(limit(fmt.Sprintf("memory limit of %s reached", shoal.Size(c.caps.Memory)), "raise the limit, or give it less to do"))
	case w.Signal == int(sigFileSize):
		return c.tail.add(limit(fmt.Sprintf("output limit of %s under /out reached", shoal.Size(c.caps.Output)), "raise the limit, or write less"))
	case w.Signal != 0:
		return c.tail.add(limit("it was killed: "+syscall.Signal(w.Signal).String(), "see what it wrote to standard error"))
	}
	ran.Exit = w.Exit
	if c.run.Out == "" {
		return nil
	}
	if err := over(c.run.Out, c.caps.Output, c.n.cfg.Files); err != nil {
		return err
	}
	return nil
}

// sigFileSize is SIGXFSZ, which a process gets that writes a file beyond its limit.
const sigFileSize = 25

// command is the operator's, and the task's arguments.
func (c *call) command() []string {
	var more []string
	if len(c.run.Args) > 0 {
		more = c.run.Args[1:]
	}
	return slices.Concat(c.x.Command, more)
}

// environment is all that the command sees of variables.
func (c *call) environment(g reserve.Grant) []string {
	home := filepath.Join(c.dir, "home")
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": home, "TMPDIR": home, "LANG": os.Getenv("LANG"),
		"SHOAL_DATA": filepath.Join(c.dir, "data"), "SHOAL_OUT": c.run.Out,
	}
	for k, v := range visible(g) {
		env[k] = v
	}
	for _, kv := range c.run.Env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	for k, v := range c.x.Env {
		env[k] = v
	}
	out := make([]string, 0, len(env))
	for k, v := range env {
		if v != "" || k == cudaVisible || k == rocrVisible {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}

const (
	cudaVisible = "CUDA_VISIBLE_DEVICES"
	rocrVisible = "ROCR_VISIBLE_DEVICES"
)

// visible are the variables that show a command its devices, and no others: an empty list hides all.
func visible(g reserve.Grant) map[string]string {
	env := map[string]string{cudaVisible: "", rocrVisible: "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
	var ids []string
	for _, d := range g.Devices {
		ids = append(ids, d.ID)
		name := map[string]string{"nvidia": cudaVisible, "amd": rocrVisible}[d.Vendor]
		if name == "" {
			continue
		}
		show := fmt.Sprint(d.Index)
		if strings.HasPrefix(d.ID, "GPU-") || strings.HasPrefix(d.ID, "MIG-") { // a name that the drivers know
			show = d.ID
		}
		if env[name] != "" {
			show = env[name] + "," + show
		}
		env[name] = show
	}
	if len(ids) > 0 {
		env["SHOAL_DEVICES"] = strings.Join(ids, ",")
	}
	if g.Share > 0 {
		env["SHOAL_DEVICE_MEMORY"] = fmt.Sprint(g.Share)
	}
	return env
}

// listen hears what a ward says until its end. It calls begun once the command is there.
func listen(r io.Reader, begun func()) (all word) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var w word
		if json.Unmarshal(sc.Bytes(), &w) != nil {
			continue
		}
		if w.Group > 0 && all.Group == 0 {
			begun()
		}
		if w.Group == 0 {
			w.Group, w.Bounds = all.Group, all.Bounds
		}
		if w.Fail == "" {
			w.Fail = all.Fail
		}
		all = w
	}
	return all
}
