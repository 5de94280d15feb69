package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	upTime  = 30 * time.Second // for a node to come up, and for nodes to meet
	endTime = 10 * time.Second // for a node to stop
)

// build compiles the command, as the README says, from the module that this one is built against. (With
// other flags nothing that is compiled already could be used again, and it would take minutes.)
func build(ctx context.Context, into string) error {
	at, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shoal-fabric/shoal").Output()
	if err != nil {
		return fmt.Errorf("find the source of shoal: %w: run it in bench/", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", into, "./cmd/shoal")
	cmd.Dir = strings.TrimSpace(string(at))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build shoal: %w: %s", err, out)
	}
	return nil
}

// fabric is a number of nodes, each a process.
type fabric struct {
	binary, dir string
	invite      string
	procs       []*exec.Cmd
	logs        []*output
}

func (f *fabric) home(i int) string { return filepath.Join(f.dir, fmt.Sprint("n", i)) }

// add starts a node and waits until it answers; the first founds the fabric, the others join it.
func (f *fabric) add(ctx context.Context) error {
	i := len(f.procs)
	args := []string{"up", "--dir", f.home(i), "--listen", "127.0.0.1:0"}
	if i > 0 {
		args = append(args, "--join", f.invite)
	}
	p, out := exec.Command(f.binary, args...), &output{}
	p.Stdout, p.Stderr = out, out
	if err := p.Start(); err != nil {
		return err
	}
	f.procs, f.logs = append(f.procs, p), append(f.logs, out)
	if i > 0 {
		return f.wait(ctx, i, "come up", func() bool { _, err := f.ask(ctx, i, "status"); return err == nil })
	}
	return f.wait(ctx, i, "come up", func() bool {
		v, err := f.ask(ctx, i, "invite")
		f.invite, _ = v["invite"].(string)
		return err == nil && f.invite != ""
	})
}

// meet waits until every node is connected with all others.
func (f *fabric) meet(ctx context.Context) error {
	others := float64(len(f.procs) - 1)
	for i := range f.procs {
		err := f.wait(ctx, i, "meet the others", func() bool {
			v, err := f.ask(ctx, i, "status")
			return err == nil && v["members"] == others+1 && v["connected"] == others
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ask runs a verb against a node.
func (f *fabric) ask(ctx context.Context, i int, verb string) (v map[string]any, err error) {
	out, err := exec.CommandContext(ctx, f.binary, verb, "--json", "--dir", f.home(i)).Output()
	if err != nil {
		return nil, err
	}
	return v, json.Unmarshal(out, &v)
}

func (f *fabric) wait(ctx context.Context, i int, what string, ok func() bool) error {
	for end := time.Now().Add(upTime); !ok(); {
		if time.Now().After(end) {
			return fmt.Errorf("node %d does not %s within %v: %s", i, what, upTime, f.said(i))
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// said is what a node has printed.
func (f *fabric) said(i int) string { return f.logs[i].String() }

// close stops all nodes.
func (f *fabric) close() {
	for _, p := range f.procs {
		_ = p.Process.Signal(os.Interrupt)
	}
	for _, p := range f.procs {
		timer := time.AfterFunc(endTime, func() { _ = p.Process.Kill() })
		_ = p.Wait() // how it ends is of no interest here
		timer.Stop()
	}
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
