//go:build process && linux

package main

import (
	"context"
	flags "flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/internal/nemesis"
)

var (
	nemesisSeed = flags.Uint64("seed", 1, "of the faults and the clients' calls in TestNemesis")
	nemesisOps  = flags.Int("ops", 10_000, "how many operations whose outcome is known TestNemesis goes on for")
)

// TestNemesis is the ordeal of package agents on real processes: kill -9, SIGSTOP for longer than a lease, links cut
// one way and both, a full disk; clients beside all nodes, whose histories must be linearizable. Wall clocks cannot be
// set wrong here, nor messages be doubled.
func TestNemesis(t *testing.T) {
	f := newFarm(t)
	defer f.end()
	for n := range 40 {
		f.client(n, []string{"kv", "lock", "kv", "counter", "kv"}[n%5])
	}
	time.Sleep(2 * time.Second)
	faults := f.faults()
	names := []string{}
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	limit := time.Now().Add(time.Duration(60+*nemesisOps/40) * time.Second)
	for round := 0; !f.enough(names) && time.Now().Before(limit) && !t.Failed(); round++ {
		f.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			over := f.h.Fault(name)
			faults[name]()
			over()
			time.Sleep(f.some(0, time.Second))
		}
	}
	f.healed.Store(true)
	time.Sleep(5 * time.Second)
	f.over.Store(true)
	f.work.Wait()
	for n := range f.nodes { // it goes on, from everywhere
		for _, op := range nemesis.Reads(2000+n, nemesis.Epoch(f.made.Load())) {
			f.do(f.nodes[n], op, "", true)
		}
	}
	tally := f.h.Tally()
	t.Logf("seed %d: %v", *nemesisSeed, tally)
	if !f.enough(names) {
		t.Errorf("too little happened: want %d operations, and 100 under each fault", *nemesisOps)
	}
	if err := f.h.Check(2 * time.Minute); err != nil {
		t.Errorf("seed %d: %v", *nemesisSeed, err)
	}
}

// farm is some node processes, and clients beside them.
type farm struct {
	t      *testing.T
	rng    *rand.Rand
	h      *nemesis.History
	dir    string
	hub    string // namespace; "": no links can be cut
	small  *farmNode
	prey   []string // agents whose nodes are harmed rather than others
	nodes  []*farmNode
	work   sync.WaitGroup
	over   atomic.Bool
	healed atomic.Bool
	made   atomic.Int64
}

type farmNode struct {
	f        *farm
	name, ns string
	dir      string
	addr     string
	peer     shoal.PeerID
	client   *api.Client

	mu   sync.Mutex
	cmd  *exec.Cmd
	errs *transcript
}

const farmNodes = 5

func newFarm(t *testing.T) *farm {
	short, err := os.MkdirTemp("", "nem") // sockets want short names
	must(t, err)
	t.Setenv("TMPDIR", short)
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("HOME", short)
	f := &farm{t: t, rng: rand.New(rand.NewPCG(*nemesisSeed, 1)), h: &nemesis.History{}, dir: short, prey: []string{"kv"}}
	if mayNetns() {
		f.hub = fmt.Sprintf("nem%d", os.Getpid()%10000)
		f.ip("netns add " + f.hub)
		f.ip("-n " + f.hub + " link add br0 type bridge mcast_snooping 0")
		f.ip("-n " + f.hub + " link set br0 up")
	} else {
		t.Log("no links are cut: that needs root and iproute2")
	}
	invite := ""
	for i := range farmNodes {
		n := &farmNode{f: f, name: string(rune('a' + i)), addr: "127.0.0.1:0"}
		n.dir = filepath.Join(short, n.name)
		if f.hub != "" {
			n.ns = f.hub + n.name
			veth, ip := fmt.Sprintf("v%d", i), fmt.Sprintf("10.78.0.%d", i+1)
			f.ip("netns add " + n.ns)
			f.ip(fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", n.ns, veth, f.hub))
			f.ip(fmt.Sprintf("-n %s link set %s master br0 up", f.hub, veth))
			f.ip(fmt.Sprintf("-n %s addr add %s/24 dev eth0", n.ns, ip))
			f.ip("-n " + n.ns + " link set lo up")
			f.ip("-n " + n.ns + " link set eth0 up")
			n.addr = ip + ":4170"
		}
		if i == 1 && mayMount() {
			must(t, os.MkdirAll(n.dir, 0o700))
			must(t, syscall.Mount("tmpfs", n.dir, "tmpfs", 0, "size=192m"))
			f.small = n
		}
		f.nodes = append(f.nodes, n)
		n.client = api.NewClient(n.dir)
		e := n.up(invite)
		n.peer = shoal.PeerID(e.Peer)
		if i == 0 {
			invite = e.Invite
		}
	}
	for i, name := range []string{"kv", "lock", "counter"} {
		f.eventually("agent "+name, func(ctx context.Context) error {
			var made agents.Created
			err := f.nodes[i].client.Call(ctx, http.MethodPost, "agents", api.AgentCreate{Name: name, Code: "example:" + name, Replicas: 3, Strict: true}, &made)
			if shoal.KindOf(err) == shoal.Exists {
				return nil
			}
			return err
		})
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *farm) ip(args string) {
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		f.t.Errorf("ip %s: %v: %s", args, err, out)
	}
}

func (f *farm) eventually(what string, try func(context.Context) error) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (f *farm) end() {
	for _, n := range f.nodes {
		n.signal(syscall.SIGKILL)
		n.wait()
		if n.ns != "" {
			_ = exec.Command("ip", "netns", "del", n.ns).Run()
		}
	}
	if f.hub != "" {
		_ = exec.Command("ip", "netns", "del", f.hub).Run()
	}
	if f.small != nil {
		_ = syscall.Unmount(f.small.dir, 0)
	}
	_ = os.RemoveAll(f.dir)
}

// up starts the node and waits until it serves.
func (n *farmNode) up(invite string) upEvent {
	argv := []string{"shoal", "up", "--dir", n.dir, "--json", "--no-mdns", "--listen", n.addr}
	if invite != "" {
		argv = append(argv, "--join", invite)
	}
	if n.ns != "" {
		argv = append([]string{"ip", "netns", "exec", n.ns}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	errs := &transcript{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	must(n.f.t, err)
	must(n.f.t, cmd.Start())
	n.mu.Lock()
	n.cmd, n.errs = cmd, errs
	n.mu.Unlock()
	events := make(chan upEvent, 8)
	go readEvents(out, events)
	select {
	case e, ok := <-events:
		if !ok {
			n.f.t.Fatalf("node %s did not come up:\n%s", n.name, errs)
		}
		go func() {
			for range events {
			}
		}()
		return e
	case <-time.After(time.Minute):
		n.f.t.Fatalf("node %s was not up after a minute:\n%s", n.name, errs)
	}
	return upEvent{}
}

func (n *farmNode) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(s)
	}
}

func (n *farmNode) wait() {
	n.mu.Lock()
	cmd := n.cmd
	n.cmd = nil
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Wait()
	}
}

func (f *farm) some(least, most time.Duration) time.Duration {
	return least + time.Duration(f.rng.Int64N(int64(most-least)))
}

// client calls an agent, in bursts.
func (f *farm) client(n int, model string) {
	c := nemesis.NewCaller(n, model, *nemesisSeed)
	rng := rand.New(rand.NewPCG(*nemesisSeed, uint64(10_000+n)))
	f.work.Go(func() {
		for !f.over.Load() {
			for range rng.IntN(20) {
				op, id, read := c.Next(nemesis.Epoch(f.made.Add(1)))
				if read || op.Model != "counter" && rng.IntN(4) == 0 {
					id = ""
				}
				if reply, ok := f.do(f.nodes[n%farmNodes], op, id, read); ok {
					c.Learn(op, reply)
				}
			}
			time.Sleep(time.Duration(rng.Int64N(int64(1500 * time.Millisecond))))
		}
	})
}

// do makes a call, and with an ID asks again, elsewhere, until it knows what came of it, or gives up.
func (f *farm) do(at *farmNode, op nemesis.Op, id string, read bool) (reply string, ok bool) {
	done := f.h.Begin(op)
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(500+rand.IntN(3500))*time.Millisecond)
		var res api.AgentReply
		err := at.client.Call(ctx, http.MethodPost, "agents/call",
			api.AgentCall{Agent: op.Agent, Method: op.Method, Payload: []byte(op.Payload()), Read: read, Request: id}, &res)
		cancel()
		if err == nil {
			done(string(res.Reply), fmt.Sprintf("at %s, read %v, try %d", at.name, read, try))
			return string(res.Reply), true
		}
		switch shoal.KindOf(err) {
		case shoal.Unavailable, shoal.Timeout, shoal.Canceled, shoal.Overloaded, shoal.Full, shoal.Internal:
		default:
			f.t.Errorf("%v: %v", op, err)
			return "", false
		}
		if id == "" && !read || op.Model != "counter" && try > 2 && !f.healed.Load() && rand.IntN(8) == 0 || f.over.Load() && try > 100 {
			return "", false
		}
		time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
		at = f.nodes[rand.IntN(farmNodes)]
	}
}

// enough reports whether as much happened as was asked for.
func (f *farm) enough(faults []string) bool {
	t := f.h.Tally()
	for _, name := range faults {
		if t.Under[name] < 100 {
			return false
		}
	}
	return t.Definite >= *nemesisOps
}
