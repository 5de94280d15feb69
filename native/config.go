package native

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// Executor is a command that tasks may name.
type Executor struct {
	Name    string            // see shoal.CheckExecName
	Command []string          // the program, looked up in PATH when the node starts, and its first arguments; the task's follow
	Devices reserve.Want      // for each task
	Env     map[string]string // for the command

	// Measures says that it prints, as its last word, how many TFLOP/s its device does. The node runs it once
	// on each. It wants one whole device then.
	Measures bool

	// Limits of one task; zero: none, but for Time and Output, see Config. A task may ask for less.
	Memory    uint64        // bytes
	Processes int           // at once
	Time      time.Duration // wall time
	Output    uint64        // bytes under /out
}

// Config says what to run, and how.
type Config struct {
	Dir       string // scratch folders; emptied by New
	Executors []Executor

	// Helper makes the command of a process that calls Main with these arguments, and that has Verb as the
	// first of its own. Required with Executors.
	Helper func(ctx context.Context, args ...string) *exec.Cmd

	// Simulate stands in for the commands of all executors, which are not started: the run has got its devices. nil: they run.
	Simulate func(ctx context.Context, r shoal.Run, devices []reserve.Device) (shoal.Ran, error)

	// Look says which devices the machine has. It is asked when a task with devices failed, and every LookEvery
	// [30 s] while one runs. nil: who knows says so with SetDevices. Until then there are none.
	Look      func(ctx context.Context) ([]reserve.Device, error)
	LookEvery time.Duration

	Patience time.Duration // how long a run waits for devices that are taken [10 s]

	Changed func() // Names has changed; nil: nobody cares

	Time   time.Duration // of an executor without a limit [1 h]
	Output uint64        // likewise [1 GiB]
	Files  int           // files and folders under /out [100,000]
	Grace  time.Duration // between SIGTERM and SIGKILL [1 s]
	Log    *slog.Logger  // [none]
}

// maxExecutors is how many a peer may announce.
const maxExecutors = 64

// Check says what is wrong with a list of executors; the error's What names the field.
func Check(list []Executor) error {
	_, err := resolve(list)
	return err
}

// resolve returns the list with the programs' paths.
func resolve(list []Executor) ([]Executor, error) {
	if len(list) > maxExecutors {
		return nil, shoal.E(shoal.Invalid, "executors", fmt.Sprintf("%d, more than the limit of %d", len(list), maxExecutors), "list fewer")
	}
	if len(list) > 0 && runtime.GOOS == "windows" {
		return nil, shoal.E(shoal.Invalid, "executors", "native executors do not run on Windows: there are no process groups to end them by",
			"run the node on Linux or macOS, or leave them out")
	}
	out := make([]Executor, len(list))
	seen, gauges := map[string]bool{}, 0
	for i, x := range list {
		at := fmt.Sprintf("executors[%d]", i)
		if err := shoal.CheckExecName(x.Name); err != nil {
			return nil, shoal.Wrap(shoal.Invalid, at+".name", err)
		}
		at += " (" + x.Name + ")"
		bad := func(field, why, try string) error { return shoal.E(shoal.Invalid, at+"."+field, why, try) }
		switch {
		case seen[x.Name]:
			return nil, bad("name", "there is another of this name", "give each its own")
		case len(x.Command) == 0 || x.Command[0] == "":
			return nil, bad("command", "it is empty", "list the program and its arguments, as in [python3, train.py]")
		case x.Devices.Whole < 0 || x.Devices.Whole > 64:
			return nil, bad("devices.gpus", fmt.Sprintf("%d is no number of devices", x.Devices.Whole), "give 1 to 64")
		case x.Devices.Whole > 0 && x.Devices.Memory > 0:
			return nil, bad("devices", "whole devices and a share of one's memory exclude each other", "give either gpus or memory")
		case x.Devices.None() && x.Devices.Vendor != "":
			return nil, bad("devices.vendor", "a vendor, and no device", "add gpus or memory")
		case x.Measures && x.Devices.Whole != 1:
			return nil, bad("measures", "it measures one whole device at a time", "add devices: {gpus: 1}")
		case x.Measures && gauges > 0:
			return nil, bad("measures", "another executor measures the devices", "let one do so")
		case x.Processes < 0:
			return nil, bad("limits.processes", "it is negative", "leave it out for no limit")
		case x.Time < 0:
			return nil, bad("limits.time", "it is negative", "leave it out for the default")
		}
		seen[x.Name] = true
		if x.Measures {
			gauges++
		}
		for k, v := range x.Env {
			if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
				return nil, bad("env", fmt.Sprintf("%q is no variable", k), "name it without '=' or NUL")
			}
		}
		for _, a := range x.Command {
			if strings.ContainsRune(a, 0) {
				return nil, bad("command", "an argument contains a NUL", "leave it out")
			}
		}
		path, err := exec.LookPath(x.Command[0])
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			return nil, bad("command", "there is no such program here: "+x.Command[0], "install it, or give its path")
		}
		out[i] = x
		out[i].Command = append([]string{path}, x.Command[1:]...)
	}
	return out, nil
}

func (c Config) withDefaults() Config {
	fill(&c.Time, time.Hour)
	fill(&c.Output, 1<<30)
	fill(&c.Files, 100_000)
	fill(&c.Grace, time.Second)
	fill(&c.Patience, 10*time.Second)
	fill(&c.LookEvery, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func fill[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
