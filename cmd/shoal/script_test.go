package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Scripts run real processes: this test binary is the shoal command in them.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"shoal": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// runScripts runs the scripts of a folder. Besides testscript's own commands there are
//
//	up NAME [flags...]      start a node in $WORK/NAME; sets $NAME (--dir), $NAME_peer, $NAME_invite, $NAME_addr
//	                        with --join lan the node of directory $NAME_approver approves its code;
//	                        --ports=default has it choose its ports itself; --api sets $NAME_api, $NAME_token
//	down NAME [signal]      end it (default TERM), and wait
//	signal NAME SIG         send a signal (STOP, CONT)
//	eventually SECONDS [!] PATTERN shoal ARGS...   repeat a command until its output matches (! until it does not)
//	field VAR KEY           set $VAR to a field of the JSON object on the last standard output
//	output VAR FILE         set $VAR to the output_cid of the task record in a file
//	corpus DIR FILES KIB    write a folder of text files, the same every time
//	many N shoal ARGS...    run a command N times at once
//	fails CODE PATTERN shoal ARGS...   run a command that must end with CODE and one line 'what: why: what to try'
//	                        that matches, and nothing else
//	module FILE IMPORT EXPORT [spin]   write a WebAssembly module with one function, which returns, or spins for
//	                        ever; IMPORT is module.name, or - for none
//	sparse FILE GIB         write a large file that takes no space
//	count NAME, grown NAME N   note how many blocks a node keeps; wait until they are N more
//	tmpfs NAME MIB          give a node a small disk of its own (root on Linux)
func runScripts(t *testing.T, dir string) { runScriptsWith(t, dir, scriptCommands()) }

func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"up": upScript, "down": downScript, "signal": signalScript, "eventually": eventually, "field": field,
		"corpus": corpus, "many": many, "fails": failsScript, "module": moduleScript, "sparse": sparseScript,
		"count": countScript, "grown": grownScript, "tmpfs": tmpfsScript,
		"output": outputScript,
	}
}

func runScriptsWith(t *testing.T, dir string, cmds map[string]func(*testscript.TestScript, bool, []string)) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "mounts": // this process may mount, as root can where it is not confined
				return mayMount(), nil
			case "netns": // and make network namespaces
				return mayNetns(), nil
			}
			return false, fmt.Errorf("no such condition: %s", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_RUNTIME_DIR", "")
			e.Setenv("HOME", e.WorkDir)
			// The runtime folder holds sockets: their paths must be short.
			short, err := os.MkdirTemp("", "sh")
			if err != nil {
				return err
			}
			e.Setenv("TMPDIR", short)
			f := &fleet{nodes: map[string]*process{}}
			e.Values[fleetKey{}] = f
			e.Defer(func() {
				f.killAll()
				os.RemoveAll(short)
			})
			return nil
		},
		Cmds: cmds,
	})
}

type fleetKey struct{}

// fleet is the node processes of one script.
type fleet struct {
	mu    sync.Mutex
	nodes map[string]*process
}

type process struct {
	cmd  *exec.Cmd
	errs *transcript
	done chan struct{}
}

func (f *fleet) killAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.nodes {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func fleetOf(ts *testscript.TestScript) *fleet { return ts.Value(fleetKey{}).(*fleet) }

// upEvent is the line that 'shoal up --json' prints when the node serves.
type upEvent struct {
	Event     string   `json:"event"`
	Peer      string   `json:"peer_id"`
	Invite    string   `json:"invite"`
	Addresses []string `json:"addresses"`
	Code      string   `json:"code"`
	API       string   `json:"api"`
	Token     string   `json:"token"`
}

// transcript collects a process's errors while others may read them.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

func upScript(ts *testscript.TestScript, neg bool, args []string) {
	name, args := args[0], args[1:]
	dir := filepath.Join(ts.Getenv("WORK"), name)
	full := append([]string{"up", "--dir", dir, "--json"}, args...)
	if ports := slices.Index(full, "--ports=default"); ports >= 0 {
		full = slices.Delete(full, ports, ports+1)
	} else if !strings.Contains(strings.Join(args, " "), "--listen") {
		full = append(full, "--listen", "127.0.0.1:0")
	}
	if !strings.Contains(strings.Join(args, " "), "mdns") {
		full = append(full, "--no-mdns")
	}
	var prefix []string
	if ns := ts.Getenv(name + "_ns"); ns != "" {
		prefix = []string{"ip", "netns", "exec", ns}
	}
	argv := append(append(prefix, lookIn(ts, "shoal")), full...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = environ(ts), ts.Getenv("WORK")
	p := &process{cmd: cmd, errs: &transcript{}, done: make(chan struct{})}
	cmd.Stderr = p.errs
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := make(chan upEvent, 8)
	go func() {
		readEvents(out, lines)
		_ = cmd.Wait()
		close(p.done)
	}()
	f := fleetOf(ts)
	f.mu.Lock()
	f.nodes[name] = p
	f.mu.Unlock()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case e, ok := <-lines:
			switch {
			case !ok:
				<-p.done
				ts.Setenv(name+"_stderr", p.errs.String())
				if !neg {
					ts.Fatalf("%s did not come up:\n%s", name, p.errs.String())
				}
				ts.Logf("%s", p.errs.String())
				return
			case e.Event == "code":
				eventually(ts, false, []string{"15", "^admitted", "shoal", "invite", "approve", e.Code, "--dir", ts.Getenv(name + "_approver")})
				continue
			}
			if neg {
				ts.Fatalf("%s came up, but should not have", name)
			}
			ts.Setenv(name, dir)
			ts.Setenv(name+"_peer", e.Peer)
			if e.Invite != "" {
				ts.Setenv(name+"_invite", e.Invite)
			}
			if len(e.Addresses) > 0 {
				ts.Setenv(name+"_addr", e.Addresses[0])
			}
			if e.API != "" {
				ts.Setenv(name+"_api", e.API)
				ts.Setenv(name+"_token", e.Token)
			}
			go func() {
				for range lines { // keep the pipe drained
				}
			}()
			return
		case <-timeout:
			_ = cmd.Process.Kill()
			<-p.done
			ts.Fatalf("%s was not up after 60 s:\n%s", name, p.errs.String())
		}
	}
}

// readEvents sends the events that a node prints, until its end.
func readEvents(out io.Reader, lines chan<- upEvent) {
	defer close(lines)
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var e upEvent
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.Event != "" {
			lines <- e
		}
	}
}

func environ(ts *testscript.TestScript) []string {
	env := []string{}
	for _, k := range []string{"PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "WORK", "GOCOVERDIR", "TESTSCRIPT_COMMAND", "SHOAL_TOKEN"} {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

func downScript(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts)
	f.mu.Lock()
	p := f.nodes[args[0]]
	delete(f.nodes, args[0])
	f.mu.Unlock()
	if p == nil {
		ts.Fatalf("no node %s", args[0])
	}
	sig := syscall.SIGTERM
	if len(args) > 1 {
		sig = signals[args[1]]
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		ts.Fatalf("%s did not end within 20 s", args[0])
	}
	ts.Logf("%s", p.errs.String())
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT}

func signalScript(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts)
	f.mu.Lock()
	defer f.mu.Unlock()
	ts.Check(f.nodes[args[0]].cmd.Process.Signal(signals[args[1]]))
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	seconds, err := time.ParseDuration(args[0] + "s")
	ts.Check(err)
	args = args[1:]
	want := true
	if args[0] == "!" {
		want, args = false, args[1:]
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(seconds)
	for {
		cmd := exec.Command(lookIn(ts, args[1]), args[2:]...)
		cmd.Env = environ(ts)
		cmd.Dir = ts.Getenv("WORK")
		out, _ := cmd.CombinedOutput()
		if re.Match(out) == want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %v, %q: matches %q is %v; output:\n%s", seconds, args[1:], args[0], !want, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func lookIn(ts *testscript.TestScript, name string) string {
	for _, d := range filepath.SplitList(ts.Getenv("PATH")) {
		p := filepath.Join(d, name)
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	ts.Fatalf("no %s in PATH", name)
	return ""
}

func field(ts *testscript.TestScript, _ bool, args []string) {
	var m map[string]any
	first, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n")
	ts.Check(json.Unmarshal([]byte(first), &m))
	v, ok := m[args[1]]
	if !ok {
		ts.Fatalf("no field %s in %s", args[1], first)
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func outputScript(ts *testscript.TestScript, _ bool, args []string) {
	var rec struct {
		Outcome struct {
			Output string `json:"output_cid"`
		} `json:"outcome"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &rec))
	if rec.Outcome.Output == "" {
		ts.Fatalf("no output in %s", args[1])
	}
	ts.Setenv(args[0], rec.Outcome.Output)
}

// corpus writes FILES text files of KIB each, of words drawn by a fixed rule.
func corpus(ts *testscript.TestScript, _ bool, args []string) {
	var files, kib int
	_, err := fmt.Sscan(args[1]+" "+args[2], &files, &kib)
	ts.Check(err)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	x := uint64(7)
	for i := range files {
		var b bytes.Buffer
		for b.Len() < kib<<10 {
			x = x*6364136223846793005 + 1442695040888963407
			fmt.Fprintf(&b, "word%d ", (x>>33)%500)
			if x>>60 == 0 {
				b.WriteByte('\n')
			}
		}
		b.WriteByte('\n')
		ts.Check(os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%04d.txt", i)), b.Bytes(), 0o644))
	}
}

// many runs a command N times at once; all must succeed, or all fail when negated.
func many(ts *testscript.TestScript, neg bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[0], &n)
	ts.Check(err)
	var wg sync.WaitGroup
	fails := make(chan string, n)
	for range n {
		wg.Go(func() {
			cmd := exec.Command(lookIn(ts, args[1]), args[2:]...)
			cmd.Env = environ(ts)
			cmd.Dir = ts.Getenv("WORK")
			if out, err := cmd.CombinedOutput(); (err != nil) != neg {
				fails <- fmt.Sprintf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	select {
	case f := <-fails:
		ts.Fatalf("%d of %d: %s", len(fails)+1, n, f)
	default:
	}
}
