package node

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/plans"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// RunSpec says what to run. Module and the inputs are in the fabric.
type RunSpec struct {
	Name   string  // how the user called the module, for listings
	Module cid.Cid // or shoal.ExecCID
	Args   []string
	Inputs []shoal.Input // an empty name stands for the dataset's own
	Needs  string        // CEL
	On     shoal.PeerID  // only there
	Limits shoal.Limits

	Each   bool     // one task per partition
	Reduce *cid.Cid // with Each
	Detach bool     // goes on without the caller

	Stdin          io.Reader // for RunTask
	Stdout, Stderr io.Writer // of the task, or of a job as plans.Job says
}

// Code resolves what a user calls the code of a task: a module, or exec:NAME for a native executor.
func (n *Node) Code(ctx context.Context, name string) (cid.Cid, error) {
	if exec, ok := strings.CutPrefix(name, shoal.ExecPrefix); ok {
		return shoal.ExecCID(exec), shoal.CheckExecName(exec)
	}
	return n.Module(ctx, name)
}

// Module resolves what a user calls a module: a CID, or example:NAME.
func (n *Node) Module(ctx context.Context, name string) (cid.Cid, error) {
	if strings.HasPrefix(name, shoal.ExecPrefix) {
		return cid.Undef, shoal.E(shoal.Invalid, name, "a native executor runs tasks only, it is no module", "name a module")
	}
	ex, ok := strings.CutPrefix(name, "example:")
	if !ok {
		return shoal.ParseCID(name)
	}
	b, ok := examples.Module(ex)
	if !ok {
		return cid.Undef, shoal.E(shoal.NotFound, name, "no such example", "there are: "+strings.Join(examples.Names(), ", "))
	}
	c, _, err := n.Upload(ctx, ex+".wasm", b)
	return c, err
}

// Upload checks a module and keeps it on this node, from where tasks fetch it.
func (n *Node) Upload(ctx context.Context, name string, b []byte) (cid.Cid, shoal.ModuleInfo, error) {
	info, err := sandbox.Inspect(b)
	if err != nil {
		return cid.Undef, info, shoal.Wrap(shoal.Invalid, "module '"+name+"'", err)
	}
	dir, err := os.MkdirTemp(filepath.Join(n.cfg.Dir, "tasks"), "upload")
	if err != nil {
		return cid.Undef, info, shoal.Wrap(shoal.Internal, "module '"+name+"'", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "module.wasm")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return cid.Undef, info, shoal.Wrap(shoal.Internal, "module '"+name+"'", err)
	}
	c, _, err := n.rooms.data.Adopt(ctx, path)
	return c, info, err
}

// Inspect describes a module that is in the fabric.
func (n *Node) Inspect(ctx context.Context, c cid.Cid) (shoal.ModuleInfo, error) {
	if err := n.belongOrHold(ctx, "inspect "+c.String(), c); err != nil {
		return shoal.ModuleInfo{}, err
	}
	if _, err := n.rooms.data.Ensure(ctx, c, data.Code, nil); err != nil {
		return shoal.ModuleInfo{}, err
	}
	tree, err := n.rooms.data.Open(ctx, c)
	if err != nil {
		return shoal.ModuleInfo{}, err
	}
	names, err := fs.ReadDir(tree, ".")
	if err != nil || len(names) != 1 || names[0].IsDir() {
		return shoal.ModuleInfo{}, shoal.E(shoal.Invalid, "module "+c.String(), "it is a folder, not a file", "give the CID of the .wasm file")
	}
	f, err := tree.Open(names[0].Name())
	if err != nil {
		return shoal.ModuleInfo{}, err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f, wire.MaxModule+1)); err != nil {
		return shoal.ModuleInfo{}, err
	}
	info, err := sandbox.Inspect(b.Bytes())
	return info, shoal.Wrap(shoal.Invalid, "module "+c.String(), err)
}

// RunTask runs one task and waits for it. Its streams are passed on live.
func (n *Node) RunTask(ctx context.Context, spec RunSpec) (shoal.TaskID, shoal.Outcome, cost.Explain, error) {
	if err := n.belong("run " + spec.Name); err != nil {
		return "", shoal.Outcome{}, cost.Explain{}, err
	}
	inputs, err := n.inputs(ctx, spec.Inputs)
	if err != nil {
		return "", shoal.Outcome{}, cost.Explain{}, err
	}
	t := shoal.Task{
		Created: time.Now().UnixMilli(), ID: n.rooms.sched.NewID(), Module: spec.Module, Args: argv(spec.Name, spec.Args), Inputs: inputs, Needs: spec.Needs, Limits: spec.Limits,
	}
	out, explain, err := n.rooms.sched.Run(ctx, t, scheduler.RunOptions{
		Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr, On: spec.On, From: []shoal.PeerID{n.ID()},
	})
	if shoal.KindOf(err) == shoal.Refused {
		if why := n.unknown(spec.Module); why != nil {
			err = why
		}
	}
	if err == nil && out.Output != "" {
		c, bad := shoal.ParseCID(out.Output)
		if bad == nil { // whoever made it has it, heard of or not
			if _, bad = n.rooms.data.Ensure(ctx, c, data.Result, []shoal.PeerID{out.Peer}); bad == nil {
				bad = n.keep(ctx, c)
			}
		}
		if bad != nil {
			return t.ID, out, explain, shoal.Wrap(shoal.Unavailable, "keep the output "+out.Output, bad)
		}
	}
	return t.ID, out, explain, err
}

// keep fetches a result and keeps it on this node, the one that asked for it, until it is unpinned:
// else the only copy would be where the task ran, in the cache.
func (n *Node) keep(ctx context.Context, c cid.Cid) error {
	if _, err := n.rooms.data.Ensure(ctx, c, data.Result, nil); err != nil {
		return err
	}
	return n.rooms.data.Pin(ctx, c)
}

// StartJob starts a job: with Each one task per partition, and perhaps a reduce; else one task that may
// go on without the caller.
func (n *Node) StartJob(ctx context.Context, spec RunSpec) (*plans.Handle, error) {
	if err := n.belong("run " + spec.Name); err != nil {
		return nil, err
	}
	inputs, err := n.inputs(ctx, spec.Inputs)
	if err != nil {
		return nil, err
	}
	for _, code := range []*cid.Cid{&spec.Module, spec.Reduce} {
		if code == nil {
			continue
		}
		if why := n.unknown(*code); why != nil {
			return nil, why
		}
	}
	return n.rooms.plans.Start(ctx, plans.Job{
		Module: spec.Module, Args: argv(spec.Name, spec.Args), Data: inputs, Each: spec.Each, Reduce: spec.Reduce, ReduceArgs: argv("reduce", nil), Needs: spec.Needs,
		Limits: spec.Limits, On: spec.On, From: []shoal.PeerID{n.ID()}, Detach: spec.Detach, Stdout: spec.Stdout, Stderr: spec.Stderr,
	})
}

// argv puts the program's name first, as programs expect it.
func argv(name string, args []string) []string {
	if name == "" {
		name = "module"
	}
	return append([]string{strings.TrimPrefix(name, "example:")}, args...)
}

// inputs gives datasets without a name their own; two of one name are told apart by a number.
func (n *Node) inputs(ctx context.Context, in []shoal.Input) ([]shoal.Input, error) {
	out := make([]shoal.Input, len(in))
	taken := map[string]bool{}
	for i, d := range in {
		if d.Name == "" {
			m, err := n.rooms.data.Manifest(ctx, d.CID)
			if err != nil {
				return nil, err
			}
			if d.Name = m.Name; d.Name == "" {
				d.Name = d.CID.String()
			}
		}
		for name, k := d.Name, 2; taken[d.Name]; k++ {
			d.Name = name + "-" + string(rune('0'+k%10))
		}
		taken[d.Name] = true
		out[i] = d
	}
	return out, nil
}

// Tasks lists the tasks and jobs of the fabric, or the tasks of one job.
func (n *Node) Tasks(ctx context.Context, of shoal.TaskID) (scheduler.Listing, error) {
	return n.rooms.sched.List(ctx, of)
}

// Rates shows what placement has measured of peers, and learnt from the tasks that this node sent.
func (n *Node) Rates(ctx context.Context) scheduler.Rates { return n.rooms.sched.Rates(ctx) }

// Task describes one task or job.
func (n *Node) Task(ctx context.Context, id shoal.TaskID) (job.Record, error) {
	return n.rooms.sched.Show(ctx, id)
}

// TaskLogs writes what a task wrote to its standard output and error; with follow until it ends.
func (n *Node) TaskLogs(ctx context.Context, id shoal.TaskID, follow bool, w io.Writer) error {
	return n.rooms.sched.Logs(ctx, id, follow, w, w)
}

// TaskWait waits until a task or job has ended.
func (n *Node) TaskWait(ctx context.Context, id shoal.TaskID) (job.Record, error) {
	return n.rooms.sched.Wait(ctx, id)
}

// TaskCancel ends a task or job.
func (n *Node) TaskCancel(ctx context.Context, id shoal.TaskID) (job.Record, error) {
	if err := n.rooms.sched.Cancel(ctx, id); err != nil {
		return job.Record{}, err
	}
	return n.rooms.sched.Wait(ctx, id)
}
