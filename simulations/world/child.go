package world

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/memnet"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// Verb is the first argument of a process that calls Main.
const Verb = "simulate-world"

// request is the line that a child reads. When its input ends after that, it ends early with what there is, within stopTime: nobody may be
// left to end it.
type request struct {
	Scenario *scenario.Scenario `json:"scenario"`
	Seed     uint64             `json:"seed"`
	Policy   cost.Policy        `json:"policy"`
}

// reply is a line that a child writes: how far it is, or in the end a run or an error.
type reply struct {
	Progress *Progress   `json:"progress,omitempty"`
	Run      *report.Run `json:"run,omitempty"`
	Kind     shoal.Kind  `json:"kind,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// Start runs a world in a process of its own, which command makes: it must call Main, with Verb and then args as its arguments. It
// tells now and then how far it is. When ctx ends, the run ends early and is Cut, without figures if there was no cluster yet. Internal: the process broke; the
// error has the end of what it wrote.
func Start(ctx context.Context, command func(ctx context.Context, args ...string) *exec.Cmd, s *scenario.Scenario, seed uint64, policy cost.Policy, tell func(Progress)) (*report.Run, error) {
	const what = "simulate a world"
	cmd := command(ctx)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	cmd.Cancel, cmd.WaitDelay = in.Close, stopTime
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	said := &tail{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	_, err = in.Write(append(asJSON(request{s, seed, policy}), '\n'))
	var last reply
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 256<<20)
	for lines.Scan() {
		var r reply
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue
		}
		if r.Progress != nil && tell != nil {
			tell(*r.Progress)
		} else if r.Progress == nil {
			last = r
		}
	}
	ended := cmd.Wait()
	switch {
	case last.Run != nil:
		return last.Run, nil
	case ctx.Err() != nil: // before there was a cluster, or it was ended before it could tell
		return &report.Run{
			Storey: report.World, Policy: policy, Seed: seed, Nodes: s.Nodes(), Figures: map[string]float64{}, Bytes: map[string]uint64{}, Cut: true,
		}, nil
	case last.Error != "":
		return nil, shoal.E(last.Kind, what, last.Error, "")
	case ended != nil: // how it died says more than that it took no request
		err = ended
	}
	if err == nil {
		err = errors.New("it ended without a result")
	}
	why := err.Error()
	if text := strings.TrimSpace(said.String()); text != "" { // who is killed, for memory above all, says nothing
		why += "; it said:\n" + text + "\n"
	}
	e := shoal.E(shoal.Internal, what, why, "run it with fewer nodes, or report this")
	e.Err = err
	return nil, e
}

// Times of the two processes.
const (
	stopTime  = 2 * time.Minute  // for what is there to be gathered
	tellEvery = time.Second      // of the machine's
	stuckTime = 20 * time.Second // without progress of virtual time, or work
	hungTime  = 10 * time.Minute // with work, but without progress
)

// Above how much memory the collector works harder: for what is in the world, and for each node.
const (
	limitWorld = 5 << 28
	limitNode  = 9 << 19
)

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 16 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b = append(t.b, p...); len(t.b) > 2*most {
		t.b = append(t.b[:most/2:most/2], t.b[len(t.b)-most:]...) // how it began says most
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// Main is the whole of a process that Start began. It ends the process.
func Main() {
	os.Args = os.Args[:1] // package testing reads them
	out := os.Stdout
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stdout = null // package testing has its say there
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	text, err := in.ReadBytes('\n')
	var q request
	if err == nil {
		err = json.Unmarshal(text, &q)
	}
	if err == nil { // a collection looks at the stacks of all goroutines: rarely, as long as there is room
		debug.SetGCPercent(150)
		debug.SetMemoryLimit(limitWorld + limitNode*int64(q.Scenario.Nodes()))
	}
	c := &child{out: json.NewEncoder(out), stop: &atomic.Bool{}}
	if err != nil {
		c.say(reply{Kind: shoal.Invalid, Error: "no request: " + err.Error()})
		os.Exit(2)
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		c.stop.Store(true)
		time.Sleep(stopTime)
		os.Exit(4)
	}()
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "world", F: func(t *testing.T) { c.run(t, q) }}}, nil, nil)
}

// child is the work of Main.
type child struct {
	stop *atomic.Bool

	mu   sync.Mutex
	out  *json.Encoder
	at   Progress // the last, of which now may not have been told
	news bool
}

func (c *child) say(r reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.out.Encode(r)
}

// run is in no bubble yet.
func (c *child) run(t *testing.T, q request) {
	begun, over := time.Now(), make(chan struct{})
	go c.tell(over)
	w := memnet.NewWatch(memnet.WatchConfig{Patience: stuckTime, Work: busy, Most: hungTime, Stuck: c.stuck})
	defer w.Stop()
	var r *report.Run
	var check func() []string
	var err error
	synctest.Test(t, func(t *testing.T) {
		defer w.Pulse()()
		r, check, err = carry(t.Context(), q.Scenario, q.Seed, Options{Policy: q.Policy, Stop: c.stop, Progress: func(p Progress) {
			c.mu.Lock()
			c.at, c.news = p, true
			c.mu.Unlock()
		}})
	})
	close(over)
	if err != nil {
		c.say(reply{Kind: shoal.KindOf(err), Error: err.Error()})
		return
	}
	r.Broken = append(r.Broken, check()...)
	r.Wall, r.RSS = time.Since(begun).Seconds(), peak()
	if r.RSS > 0 {
		r.Figures["memory_per_node"] = float64(r.RSS) / float64(max(r.Nodes, 1))
	}
	if r.Wall > 0 {
		r.Figures["events_per_s"] = float64(r.Events) / r.Wall
	}
	c.say(reply{Run: r})
}

// tell passes progress on, not more often than anybody wants to read it.
func (c *child) tell(over chan struct{}) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		c.mu.Lock()
		p, news := c.at, c.news
		c.news = false
		c.mu.Unlock()
		if news {
			c.say(reply{Progress: &p})
		}
	}
}

// stuck ends the process, as virtual time stands still: with every goroutine waiting it does so for ever, and nothing says so.
func (c *child) stuck(since time.Duration, who string) {
	who = who[:min(len(who), 32<<10)] // those who keep it come first
	fmt.Fprintf(os.Stderr, "virtual time stands still for %v. Who keeps it:\n\n%s", since.Round(time.Second), who)
	c.say(reply{Kind: shoal.Internal, Error: fmt.Sprintf("virtual time stood still for %v; a goroutine waits for what is outside of the bubble, or for a lock whose holder sleeps:\n%s",
		since.Round(time.Second), who)})
	os.Exit(3)
}
