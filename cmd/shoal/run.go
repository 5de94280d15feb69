package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/wire"
)

func runCmd(s *shell) *cobra.Command {
	var req api.RunRequest
	var data []string
	var limit time.Duration
	var memory, output, reduce string
	cmd := &cobra.Command{
		Use:   "run MODULE [--data CID]... [--each [--reduce MODULE]] [-- ARGS]",
		Short: "Run a WebAssembly program, on the machines that hold its data",
		Long: `MODULE is a file, the CID of one in the fabric, or example:NAME; any WASI command will do, whatever
language it was written in. Or it is exec:NAME: a native command that operators allow on their
machines, as 'shoal up --help' tells; it runs on a peer that has one of this name, and the devices
for it. It sees each dataset read-only under /data/NAME; what it writes to /out
becomes a dataset of its own. The program travels to the data: a task runs on a peer that holds its
input, unless the wait there costs more than the bytes would.

With --each there is one task per partition, each where its partition lies; --reduce runs one more
program over all their outputs, as files under /data.

The program's standard output and error are the command's, live. With --each a task's are printed
whole, when its result is there: one task after the other, in the order in which they end, and each
once, also when it had to run again elsewhere. With --reduce standard output is the reducer's only;
what the others wrote there is in 'shoal task logs JOB'.

With --json standard output is a field, "stdout", of which 1 MiB is kept ("stdout_truncated" says if
there was more); standard error stays where it is. A run that fails prints {"error", "stdout", ...}.
With --explain "explain" is one object; with --each an array, one per task, the reducer's last.

Standard input is passed on when it is a pipe or a file, or with --stdin.`,
		Example: `  shoal run example:hello -- world
  shoal run ./my.wasm --data CID --explain
  shoal run example:wordcount --data CID --each --reduce example:wordsum
  shoal run example:grep --data CID --each -- error
  shoal run exec:train --data CID -- --epochs 3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "wants a MODULE")
			}
			if n := cmd.ArgsLenAtDash(); n > 1 || n < 0 && len(args) > 1 {
				return usage(cmd, "one MODULE; the program's arguments follow '--'")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c := cmd.Context(), s.client()
			switch {
			case reduce != "" && !req.Each:
				return usage(cmd, "--reduce needs --each")
			case req.Each && len(data) == 0:
				return usage(cmd, "--each needs --data")
			}
			var err error
			if req.Memory, err = parseSize(memory); err != nil {
				return usage(cmd, "--memory: "+err.Error())
			}
			if req.OutputBytes, err = parseSize(output); err != nil {
				return usage(cmd, "--output: "+err.Error())
			}
			for _, d := range data {
				cid, name, _ := strings.Cut(d, "=")
				if _, err := shoal.ParseCID(cid); err != nil {
					return err
				}
				req.Data = append(req.Data, api.InputRequest{CID: cid, Name: name})
			}
			if req.Module, err = s.module(ctx, c, args[0]); err != nil {
				return err
			}
			if reduce != "" {
				if req.Reduce, err = s.module(ctx, c, reduce); err != nil {
					return err
				}
			}
			req.Args, req.TimeoutS = args[1:], limit.Seconds()
			return s.run(ctx, c, req)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&data, "data", nil, "dataset to read, as CID or CID=NAME; may be repeated")
	f.BoolVar(&req.Each, "each", false, "one task per partition of the data, where it lies")
	f.StringVar(&reduce, "reduce", "", "with --each: a program over all outputs")
	f.StringVar(&req.Needs, "needs", "", "what the machine must have, e.g. 'cpus >= 8 && labels.zone == \"a\"'")
	f.StringVar((*string)(&req.On), "on", "", "run on this peer and nowhere else")
	f.DurationVar(&limit, "time-limit", 0, "longest run of a task (default 10m)")
	f.StringVar(&memory, "memory", "", "most memory of a task, e.g. 512MiB")
	f.StringVar(&output, "output", "", "most bytes that a task may write to /out, e.g. 10GiB")
	f.Uint64Var(&req.Gas, "gas", 0, "most work of a task, in instructions (default: as much as time allows)")
	f.BoolVar(&req.Detach, "detach", false, "print the task's ID and return; see 'shoal task'")
	f.BoolVar(&req.ExplainAll, "explain", false, "print why it ran where it ran, term by term; also why nobody would run it")
	f.BoolVar(&req.Stdin, "stdin", false, "pass standard input on even from a terminal")
	return cmd
}

// run streams one run: input one way, output, events and the result the other.
func (s *shell) run(ctx context.Context, c *api.Client, req api.RunRequest) error {
	if !req.Each && !req.Detach && !req.Stdin {
		req.Stdin = piped(s.in)
	}
	if req.Each || req.Detach {
		req.Stdin = false
	}
	pr, pw := io.Pipe()
	defer pr.Close()
	go func() { pw.CloseWithError(s.feed(pw, req)) }()

	var res api.RunResult
	var why *cost.Explained
	var said capture
	out := s.out
	if s.json {
		out = &said
	}
	m := s.meter()
	err := c.Stream(ctx, http.MethodPost, "run", io.Reader(pr), &res, func(e api.Event) {
		switch e.Type {
		case "stdout":
			m.clear()
			_, _ = out.Write(e.Data)
		case "stderr":
			m.clear()
			_, _ = s.errs.Write(e.Data)
		case "explain":
			why = e.Explain
		case "task":
			switch e.Task.State {
			case "retried":
				m.clear()
				s.note("task %d again: %s", e.Task.Index, e.Task.Why)
			case "copied":
				m.clear()
				s.note("task %d on %s too: %s", e.Task.Index, e.Task.Peer.Short(), e.Task.Why)
			}
		}
		m.on(e)
	})
	m.clear()
	switch {
	case err != nil && s.json:
		return errors.Join(err, s.print(runFailure{api.ErrorOf(err), said.printed(), why}))
	case err != nil:
		if why != nil {
			fmt.Fprint(s.errs, why.String())
		}
		return err
	case !s.json:
		s.report(res, req)
	case req.Detach:
		err = s.print(res)
	default:
		err = s.print(runResult{res, said.printed()})
	}
	if err == nil && res.Exit != 0 {
		return guestExit(res.Exit)
	}
	return err
}

// runResult is what 'run --json' prints.
type runResult struct {
	api.RunResult
	printed
}

// runFailure is what it prints of a run that failed.
type runFailure struct {
	Error *api.Error `json:"error"`
	printed
	Explain *cost.Explained `json:"explain,omitempty"`
}

type printed struct {
	Stdout    string `json:"stdout"`
	Truncated bool   `json:"stdout_truncated"`
}

// capture keeps the begin of what a program prints.
type capture struct {
	b   []byte
	cut bool
}

// maxCapture bounds the "stdout" of 'run --json'.
const maxCapture = 1 << 20

func (c *capture) Write(p []byte) (int, error) {
	n := min(len(p), maxCapture-len(c.b))
	c.b = append(c.b, p[:n]...)
	c.cut = c.cut || n < len(p)
	return len(p), nil
}

// printed is it as text; a character that the bound cut in two is left out.
func (c *capture) printed() printed {
	b := c.b
	for n := 1; c.cut && n < utf8.UTFMax && n <= len(b); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if !utf8.FullRune(b[len(b)-n:]) {
				b = b[:len(b)-n]
			}
			break
		}
	}
	return printed{string(b), c.cut}
}

// report prints what came of a run, for people.
func (s *shell) report(r api.RunResult, req api.RunRequest) {
	if r.Detached {
		s.printf("%s\n", r.Task)
		s.note("running; 'shoal task wait %s' waits for it", r.Task)
		return
	}
	if r.Explain != nil {
		fmt.Fprint(s.errs, r.Explain.String())
	}
	if !req.Each {
		if (req.ExplainAll || req.Gas > 0) && !strings.HasPrefix(req.Module, shoal.ExecPrefix) {
			s.note("%s gas in %.2f s", count(r.Gas), r.Seconds)
		}
		if r.Output != "" {
			s.note("/out is %s", r.Output)
		}
		return
	}
	s.note("%s gas; %d tasks in %.1f s, %d on a holder of their data; moved %s of code, %s of data, %s of results; read %s",
		count(r.Gas), r.Tasks, r.Seconds, r.OnHolders, size(r.CodeMoved), size(r.DataMoved), size(r.ResultMove), size(r.DataRead))
	if r.Copies > 0 {
		vain := ""
		if r.CopyMoved > 0 {
			vain = "; " + size(r.CopyMoved) + " moved in vain"
		}
		s.note("%d late tasks were given to a second node too, which was faster for %d of them%s", r.Copies, r.CopiesWon, vain)
	}
	peers := make([]string, 0, len(r.ByNode))
	for p := range r.ByNode {
		peers = append(peers, string(p))
	}
	sort.Strings(peers)
	for _, p := range peers {
		s.note("  %s  %d tasks", shoal.PeerID(p).Short(), r.ByNode[shoal.PeerID(p)])
	}
	if r.Output != "" {
		s.printf("%s\n", r.Output)
	}
	for _, o := range r.Outputs {
		if o != "" { // that task left nothing under /out
			s.printf("%s\n", o)
		}
	}
}

// feed writes the request and then, if asked to, standard input, as lines of JSON.
func (s *shell) feed(w io.Writer, req api.RunRequest) error {
	enc := json.NewEncoder(w)
	if err := enc.Encode(req); err != nil || !req.Stdin {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := s.in.Read(buf)
		if n > 0 {
			if err := enc.Encode(api.Input{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if err != nil {
			_ = enc.Encode(api.Input{EOF: true})
			return nil
		}
	}
}

// piped reports whether in is a pipe or a file with content, not a terminal or /dev/null.
func piped(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return in != nil
	}
	info, err := f.Stat()
	return err == nil && (info.Mode()&os.ModeNamedPipe != 0 || info.Mode().IsRegular())
}

// module turns what the user named into what the node knows: a file is uploaded.
func (s *shell) module(ctx context.Context, c *api.Client, name string) (string, error) {
	if strings.HasPrefix(name, "example:") || strings.HasPrefix(name, shoal.ExecPrefix) {
		return name, nil
	}
	if _, err := shoal.ParseCID(name); err == nil {
		return name, nil
	}
	b, err := readModule(name)
	if err != nil {
		return "", err
	}
	var res api.ModuleResult
	if err := c.Upload(ctx, http.MethodPost, api.Query("modules", "name", name), strings.NewReader(string(b)), &res); err != nil {
		return "", err
	}
	return res.CID, nil
}

func readModule(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, shoal.E(shoal.NotFound, "module '"+name+"'", "no such file, and no CID",
			"name a .wasm file, a CID, or one of the examples: 'shoal inspect' lists them")
	case err != nil:
		return nil, shoal.Wrap(shoal.Invalid, "module '"+name+"'", err)
	case info.IsDir():
		return nil, shoal.E(shoal.Invalid, "module '"+name+"'", "it is a folder", "name the .wasm file in it")
	case info.Size() > wire.MaxModule:
		return nil, shoal.E(shoal.Invalid, "module '"+name+"'",
			fmt.Sprintf("%s, more than the limit of %s", size(uint64(info.Size())), size(wire.MaxModule)), "strip it")
	}
	b, err := os.ReadFile(name)
	return b, shoal.Wrap(shoal.Invalid, "module '"+name+"'", err)
}

// parseSize reads "512MiB", "1g", "65536"; "" is 0.
func parseSize(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	var n float64
	var unit string
	if k, _ := fmt.Sscanf(s, "%g%s", &n, &unit); k == 0 || !(n > 0 && n < 1<<60) {
		return 0, fmt.Errorf("'%s' is no size; write 512MiB or 1GiB", s)
	}
	switch strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "b"), "i") {
	case "":
	case "k":
		n *= 1 << 10
	case "m":
		n *= 1 << 20
	case "g":
		n *= 1 << 30
	default:
		return 0, fmt.Errorf("'%s' is no unit; write KiB, MiB or GiB", unit)
	}
	if n >= 1<<63 {
		return 0, fmt.Errorf("'%s' is more than there is", s)
	}
	return uint64(n), nil
}
