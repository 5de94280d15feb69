package scheduler

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// natives is a runner that has any executor, and no module.
type natives struct{}

func (natives) Compile(context.Context, cid.Cid, []byte) (shoal.ModuleInfo, error) {
	return shoal.ModuleInfo{}, shoal.E(shoal.Internal, "compile", "there is nothing to compile", "")
}

func (natives) Ready(code cid.Cid) bool { _, ok := shoal.ExecName(code); return ok }

func (natives) Run(_ context.Context, r shoal.Run) (shoal.Ran, error) {
	name, _ := shoal.ExecName(r.Module)
	_, err := io.WriteString(r.Stdout, name)
	return shoal.Ran{Exit: 3, Devices: []string{"nvidia:0"}, Bounds: "cgroup v2"}, err
}

// native has all nodes but the first begin anew with an executor; room is asked of each by its index.
func (f *fabric) native(room func(i int, code cid.Cid, l shoal.Limits) (bool, error)) {
	f.t.Helper()
	f.net = shoaltest.NewNetwork()
	for i, p := range f.nodes {
		if err := p.s.Close(); err != nil {
			f.t.Fatal(err)
		}
		p.runs = natives{}
		if i > 0 {
			p.execs = []string{"train"}
			p.room = func(code cid.Cid, l shoal.Limits) (bool, error) { return room(i, code, l) }
		}
		p.node = f.net.Node(p.id)
		p.start()
	}
}

// TestARefusalIsOfWhatWasAsked: who refuses much takes less at once after.
func TestARefusalIsOfWhatWasAsked(t *testing.T) {
	f := newFabric(t, 2, nil)
	f.native(func(_ int, _ cid.Cid, l shoal.Limits) (bool, error) {
		if l.Memory > 1<<30 {
			return false, shoal.E(shoal.Refused, "", "this node gives 1 GiB at most", "")
		}
		return true, nil
	})
	ctx, home := within(t, 20*time.Second), f.nodes[0].s
	much := shoal.Task{ID: home.NewID(), Module: shoal.ExecCID("train"), Limits: shoal.Limits{Memory: 8 << 30}}
	if _, _, err := home.Run(ctx, much, RunOptions{}); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "1 GiB at most") {
		t.Errorf("much: %v", err)
	}
	for _, memory := range []uint64{0, 1 << 20} {
		less := shoal.Task{ID: home.NewID(), Module: much.Module, Limits: shoal.Limits{Memory: memory}}
		if out, _, err := home.Run(ctx, less, RunOptions{}); err != nil || out.Peer != f.nodes[1].id {
			t.Errorf("%d bytes: %+v %v", memory, out, err)
		}
	}
}

func TestNativeTasksGoWhereThereIsRoom(t *testing.T) {
	f := newFabric(t, 5, nil)
	room := map[int]func() (bool, error){
		1: func() (bool, error) { return true, nil }, // after another
		2: func() (bool, error) { return false, nil },
		3: func() (bool, error) {
			return false, &shoal.Error{Kind: shoal.Overloaded, Why: "it needs a whole device: all are taken", RetryAfter: time.Second}
		},
		4: func() (bool, error) { return false, shoal.E(shoal.Refused, "", "this node gives 1 GiB at most", "") },
	}
	f.native(func(i int, code cid.Cid, _ shoal.Limits) (bool, error) {
		if shoal.CodeName(code) != "exec:train" {
			t.Errorf("asked of %s", code)
		}
		return room[i]()
	})
	ctx := within(t, 20*time.Second)
	home := f.nodes[0].s
	task := shoal.Task{ID: home.NewID(), Module: shoal.ExecCID("train"), Needs: "cpus == 4 // of each"}
	var said strings.Builder
	out, explain, err := home.Run(ctx, task, RunOptions{Stdout: &said})
	if err != nil || out.Peer != f.nodes[2].id || out.Exit != 3 || said.String() != "train" || fmt.Sprint(out.Devices) != "[nvidia:0]" || out.Bounds != "cgroup v2" {
		t.Fatalf("%+v %q %v\n%s", out, said.String(), err, explain)
	}
	got := map[shoal.PeerID]string{}
	for _, r := range explain.Refused() {
		got[r.Peer] = fmt.Sprint(r.Refusal, " ", r.Retry)
	}
	for i, want := range map[int]string{
		0: `"train" in executors: executors is empty false`, 3: "it needs a whole device: all are taken true", 4: "this node gives 1 GiB at most false",
	} {
		if got[f.nodes[i].id] != want {
			t.Errorf("node %d: %q, not %q", i, got[f.nodes[i].id], want)
		}
	}
	for _, c := range explain.Open() {
		if c.Room != (c.Peer == f.nodes[2].id) {
			t.Errorf("room on %s: %v", c.Peer.Short(), c.Room)
		}
	}
	rec, err := home.Show(ctx, task.ID)
	if err != nil || rec.Module != "exec:train" {
		t.Errorf("%+v %v", rec, err)
	}
	// One that another is to end first is better than none; nobody's executor is nobody's; gas is not counted.
	for _, c := range []struct {
		task shoal.Task
		o    RunOptions
		kind shoal.Kind
		want string
	}{
		{shoal.Task{Module: shoal.ExecCID("train")}, RunOptions{On: f.nodes[1].id}, 0, ""},
		{shoal.Task{Module: shoal.ExecCID("absent")}, RunOptions{}, shoal.Refused, `"absent" in executors: executors is train`},
		{shoal.Task{Module: shoal.ExecCID("train"), Needs: "cpus > 'a'"}, RunOptions{}, shoal.Invalid, "column 6"},
		{shoal.Task{Module: shoal.ExecCID("train"), Limits: shoal.Limits{Gas: 1}}, RunOptions{}, shoal.Invalid, "gas"},
		{shoal.Task{Module: shoal.ExecCID("train")}, RunOptions{On: f.nodes[4].id}, shoal.Refused, "1 GiB at most"},
		{shoal.Task{Module: shoal.ExecCID("train")}, RunOptions{On: f.nodes[3].id, Attempts: 1}, shoal.Overloaded, "all are taken"},
	} {
		_, _, err := home.Run(ctx, c.task, c.o)
		if c.want == "" && err != nil || c.want != "" && (shoal.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", shoal.CodeName(c.task.Module), err)
		}
	}
}
