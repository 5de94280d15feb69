package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

func TestLogsFromAnotherNode(t *testing.T) {
	f := newFabric(t, 3, func(_ int, c *Config) { c.LogBytes = 4096 })
	b := newBlocker()
	mod := f.module("talk", func(ctx context.Context, r shoal.Run) (int, error) {
		fmt.Fprintln(r.Stdout, "begin")
		fmt.Fprintln(r.Stderr, "warning")
		if code, err := b.guest(ctx, r); err != nil {
			return code, err
		}
		for i := range 10_000 {
			fmt.Fprintln(r.Stdout, "line", i)
		}
		fmt.Fprintln(r.Stdout, "end")
		return 0, nil
	}, 0)
	id := f.nodes[0].s.NewID()
	go func() {
		_, _, _ = f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{ID: id, Module: mod}, RunOptions{On: f.nodes[1].id})
	}()
	<-b.started
	var out, errs lockedBuffer
	followed := make(chan error, 1)
	go func() { followed <- f.nodes[2].s.Logs(within(t, 20*time.Second), id, true, &out, &errs) }()
	eventually(t, "the live log", func() bool { return out.String() == "begin\n" && errs.String() == "warning\n" })
	close(b.release)
	if err := <-followed; err != nil || !strings.HasSuffix(out.String(), "line 9999\nend\n") {
		t.Errorf("%v, %q", err, out.String()[max(0, len(out.String())-40):])
	}
	var kept, keptErrs bytes.Buffer
	if err := f.nodes[2].s.Logs(within(t, 10*time.Second), id, false, &kept, &keptErrs); err != nil {
		t.Fatal(err)
	}
	if s := kept.String(); !strings.HasPrefix(s, "begin\nline 0\n") || !strings.HasSuffix(s, "line 9999\nend\n") || len(s) > 6000 ||
		!strings.Contains(keptErrs.String(), "bytes left out here") {
		t.Errorf("%d bytes kept; %q", len(s), keptErrs.String())
	}
	for _, silent := range []shoal.TaskID{f.nodes[0].s.NewID(), job.NewID([10]byte{}, "stranger"), "nonsense"} {
		if err := f.nodes[2].s.Logs(within(t, 5*time.Second), silent, false, io.Discard, io.Discard); err == nil {
			t.Errorf("logs of %q", silent)
		}
	}
}

func TestOldLogsAreDropped(t *testing.T) {
	dir := t.TempDir()
	l, err := openLogs(dir, Config{LogBytes: 1000, LogTotal: 2500, LogAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range 5 {
		id := job.NewID([10]byte{byte(i)}, "p")
		log := l.begin(id)
		log.write(logOut, bytes.Repeat([]byte("x"), 990))
		log.end()
		at := now.Add(-time.Duration(i) * 25 * time.Minute)
		if err := os.Chtimes(l.path(id), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.sweep(now); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // 3 and 4 are too old, 2 is too much
		if has := l.has(job.NewID([10]byte{byte(i)}, "p")); has != (i < 2) {
			t.Errorf("log %d: %v", i, has)
		}
	}
}

func TestRecordsOutliveTheNode(t *testing.T) {
	f := newFabric(t, 2, nil)
	b := newBlocker()
	mod, quick := f.module("block", b.guest, 0), f.module("hello", hello, 0)
	a := f.nodes[0]
	ctx := within(t, 20*time.Second)
	done, running := a.s.NewID(), a.s.NewID()
	if _, _, err := a.s.Run(ctx, shoal.Task{ID: done, Module: quick}, RunOptions{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _, _ = a.s.Run(ctx, shoal.Task{ID: running, Module: mod}, RunOptions{On: a.id})
	}()
	<-b.started
	if err := a.s.book.flush(); err != nil {
		t.Fatal(err)
	}
	// A copy of what is on disk, as kill -9 leaves it.
	kv := f.nodes[1].kv
	for k, v := range a.kv.Scan("") {
		if err := kv.Set(k, v); err != nil {
			t.Fatal(err)
		}
	}
	book, err := openBook(kv, a.s.cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, _, ok := book.get(done)
	if !ok || r.State != shoal.TaskDone || r.Outcome == nil || r.Outcome.Exit != 0 {
		t.Errorf("%+v", r)
	}
	r, _, ok = book.get(running)
	if !ok || r.State != shoal.TaskFailed || !strings.Contains(r.Error, "node restarted") {
		t.Errorf("%+v", r)
	}
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	a.s = nil
	var out bytes.Buffer
	logs, err := openLogs(filepath.Join(a.dir, "logs"), a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := logs.read(ctx, done, false, func(f []byte) error { out.Write(f[1:]); return nil }); err != nil || !strings.Contains(out.String(), "hello") {
		t.Errorf("%v %q", err, out.String())
	}
}

func TestTheBookIsBounded(t *testing.T) {
	kv := shoaltestKV()
	cfg := Config{Dir: t.TempDir(), Records: 100}
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	book, err := openBook(kv, cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id := func(i int) shoal.TaskID { return job.NewID([10]byte{byte(i), byte(i >> 8)}, "p") }
	for i := range 2000 {
		e := book.put(job.Record{ID: id(i), State: shoal.TaskQueued}, nil)
		book.update(e, func(r *job.Record) { r.State, r.Ended = shoal.TaskDone, int64(i) })
		if i%3 == 0 {
			if err := book.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := book.flush(); err != nil {
		t.Fatal(err)
	}
	keys := 0
	for range kv.Scan("") {
		keys++
	}
	if keys > batchesMax+2 {
		t.Errorf("%d batches on disk", keys)
	}
	again, err := openBook(kv, cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(again.list(1000, func(*job.Record) bool { return true })); n != 100 {
		t.Errorf("%d records remembered", n)
	}
	if r, _, ok := again.get(id(1999)); !ok || r.State != shoal.TaskDone {
		t.Errorf("%+v", r)
	}
}
