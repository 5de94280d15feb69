package scheduler

import (
	"bufio"
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/wire"
)

// TestGarbageOnEveryMethod sends what is no message to each method of a node that goes on.
func TestGarbageOnEveryMethod(t *testing.T) {
	f := newFabric(t, 2, nil)
	a, b := f.nodes[0], f.nodes[1]
	ctx := within(t, 20*time.Second)
	for _, junk := range [][]byte{nil, {0}, {0xff}, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0x9f}, 1000), wire.Marshal(map[string]string{"id": "../../etc"})} {
		for _, method := range []string{"task.offer", "task.show", "task.wait", "task.cancel"} {
			if _, err := a.node.Ask(ctx, b.id, method, junk); shoal.KindOf(err) != shoal.Invalid {
				t.Errorf("%s of %.20q: %v", method, junk, err)
			}
		}
		for _, method := range []string{"task.run", "task.logs"} {
			s, err := a.node.Open(ctx, b.id, method, junk)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(make([]byte, 1)); shoal.KindOf(err) != shoal.Invalid {
				t.Errorf("%s of %.20q: %v", method, junk, err)
			}
			s.Close()
		}
	}
	// Garbage instead of frames, after a good request.
	blocked := newBlocker()
	mod := f.module("block", blocked.guest, 0)
	s, err := a.node.Open(ctx, b.id, "task.run", wire.Marshal(runRequest{Task: shoal.Task{ID: a.s.NewID(), Module: mod, Stdin: true}}))
	if err != nil {
		t.Fatal(err)
	}
	<-blocked.started
	if _, err := s.Write(bytes.Repeat([]byte{0xff}, 100)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task ends", func() bool { return b.s.Load().Running == 0 })
	s.Close()
	if _, _, err := a.s.Run(ctx, shoal.Task{Module: f.module("hello", hello, 0)}, RunOptions{On: b.id}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestWithoutATable runs with nodes that know nobody but by the holders of data and the directory.
func TestWithoutATable(t *testing.T) {
	f := newFabric(t, 4, nil)
	dir := shoaltest.NewDirectories()
	for _, p := range f.nodes {
		p.hidden = true
		if err := p.s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f.net = shoaltest.NewNetwork()
	f.nodes[3].labels = map[string]string{"zone": "a"}
	for _, p := range f.nodes {
		p.node = f.net.Node(p.id)
		d := dir.Node(p.id)
		var err error
		if p.s, err = New(p.cfg, Deps{Peers: p.node, Data: p, Runner: p.runner, Members: p, KV: p.kv, Directory: d}); err != nil {
			t.Fatal(err)
		}
		m := p.Self() // package node announces these, and tests it with real nodes
		if err := d.Provide(context.Background(), expr.MemberKeys(&m)...); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 20*time.Second)
	mod, in := f.module("hello", hello, 0), f.data(strings.Repeat("text", 1e6), 2)
	res, _, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, RunOptions{})
	if err != nil || res.Peer != f.nodes[2].id || !res.Holder {
		t.Errorf("by its data: %+v %v", res, err)
	}
	id := f.nodes[0].s.NewID()
	res, explain, err := f.nodes[0].s.Run(ctx, shoal.Task{ID: id, Module: mod, Needs: `labels.zone == "a"`}, RunOptions{})
	if err != nil || res.Peer != f.nodes[3].id {
		t.Errorf("by its label: %+v %v\n%s", res, err, explain)
	}
	eventually(t, "the home is found", func() bool {
		r, err := f.nodes[1].s.Show(ctx, id)
		return err == nil && r.State == shoal.TaskDone
	})
}

func FuzzFrames(f *testing.F) {
	for _, v := range []frame{
		{Kind: frameStdin, Data: []byte("x")},
		{Kind: frameState, State: shoal.TaskRunning},
		{Kind: frameTaken, N: 7},
		{Kind: frameOutcome, Outcome: &shoal.Outcome{Peer: "p"}, Err: wireError(shoal.E(shoal.Failed, "a", "b", "c"))},
	} {
		f.Add(wire.AppendFrame(nil, wire.Marshal(v)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &conn{r: bufio.NewReader(bytes.NewReader(b))}
		for {
			v, err := c.recv()
			if err != nil {
				return
			}
			again, err := parseFrame(wire.Marshal(v))
			if err != nil || again.Kind != v.Kind || !bytes.Equal(again.Data, v.Data) {
				t.Fatalf("%+v, again %+v, %v", v, again, err)
			}
		}
	})
}

func FuzzOffer(f *testing.F) {
	f.Add(wire.Marshal(offer{Slots: 2, Has: []bool{true}, Lacks: []uint64{1 << 63}, TaskSecs: 1}), 1)
	f.Fuzz(func(t *testing.T, b []byte, inputs int) {
		o, err := parseOffer(b, inputs)
		if err != nil {
			return
		}
		if o.Slots < 1 || o.Queued < 0 || !(o.TaskSecs >= 0) || len(o.Has) != inputs {
			t.Fatalf("%+v", o)
		}
	})
}

// FuzzRequests gives any bytes to the handlers of a node.
func FuzzRequests(f *testing.F) {
	fab := newFabric(f, 1, nil)
	s := fab.nodes[0].s
	mod := fab.module("hello", hello, 0)
	id := s.NewID()
	f.Add(wire.Marshal(offerRequest{Module: mod, Inputs: []cidOf{mod}, Needs: "cpus > 1"}))
	f.Add(wire.Marshal(taskRequest{ID: id, Follow: true}))
	f.Add(wire.Marshal(runRequest{Task: shoal.Task{ID: id, Module: mod, Args: []string{"x"}, Inputs: []shoal.Input{{Name: "d", CID: mod}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		for name, h := range map[string]shoal.Handler{
			"offer": s.handleOffer, "show": s.handleShow, "wait": s.handleWait, "cancel": s.handleCancel, "list": s.handleList,
		} {
			if _, err := h(ctx, "peer", b); err != nil && shoal.KindOf(err) == shoal.Internal {
				t.Fatalf("%s: %v", name, err)
			}
		}
		var q runRequest
		if wire.Unmarshal("task", b, &q) == nil && checkTask(q.Task) == nil {
			for _, in := range q.Task.Inputs {
				if strings.ContainsAny(in.Name, "/\\") || in.Name == ".." {
					t.Fatalf("input %q passes", in.Name)
				}
			}
		}
	})
}

// FuzzBook opens books of any bytes.
func FuzzBook(f *testing.F) {
	f.Add("batch/0000000000000001", wire.Marshal([]job.Record{{ID: "t", State: shoal.TaskRunning}}))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		kv := shoaltest.NewKV()
		if err := kv.Set("batch/"+key, value); err != nil {
			t.Fatal(err)
		}
		cfg := Config{Dir: "unused"}
		if err := cfg.validate(); err != nil {
			t.Fatal(err)
		}
		b, err := openBook(kv, cfg, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range b.list(1<<20, func(*job.Record) bool { return true }) {
			if !job.Ended(r.State) {
				t.Fatalf("%+v still goes on", r)
			}
		}
	})
}

func BenchmarkPlacement(b *testing.B) {
	f := newFabric(b, 5, nil)
	mod := f.module("hello", hello, 0, 1, 2, 3, 4)
	ctx := context.Background()
	id := f.nodes[0].s.NewID()
	n := 0
	for b.Loop() {
		n++
		t := shoal.Task{ID: job.Sub(id, n), Job: id, Module: mod}
		p, _, err := f.nodes[0].s.place.choose(ctx, t, job.Options{Holders: []shoal.PeerID{f.nodes[n%5].id}, Bytes: 1000}, job.NewTries(job.DefaultPolicy()), time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		f.nodes[0].s.place.left(p)
	}
}
