package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/examples"
)

// TestDemoCountsAsGoDoes runs the whole demo and holds its last result against a plain Go count.
func TestDemoCountsAsGoDoes(t *testing.T) {
	dir := t.TempDir()
	want := map[string]uint64{}
	for i := range 60 {
		var b bytes.Buffer
		for j := range 3000 {
			fmt.Fprintf(&b, "word%d and Word%d, file%d\n", (i*31+j*7)%911, j%13, i)
		}
		if err := examples.CountWords(bytes.NewReader(b.Bytes()), want); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d.txt", i)), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	var story bytes.Buffer
	r, err := Run(t.Context(), Options{Path: dir, Text: &story, Result: func(b []byte) { got = b }})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(story.String(), "killed after") {
		t.Errorf("the story tells of no kill:\n%s", story.String())
	}
	words := make([]string, 0, len(want))
	for w := range want {
		words = append(words, w)
	}
	sort.Strings(words)
	var plain bytes.Buffer
	for _, w := range words {
		fmt.Fprintf(&plain, "%s\t%d\n", w, want[w])
	}
	if !bytes.Equal(got, plain.Bytes()) {
		t.Errorf("the demo counted %d bytes of words, Go %d", len(got), plain.Len())
	}
	if r.Output == "" || r.Output != r.Shipped.Output || r.Output != r.AfterKill.Output {
		t.Errorf("outputs differ: %+v", r)
	}
	if r.OnHolders != r.Tasks || r.DataMoved*100 >= r.DataRead {
		t.Errorf("%d of %d tasks on holders, %d bytes moved of %d read", r.OnHolders, r.Tasks, r.DataMoved, r.DataRead)
	}
	if r.AfterKill.Completed != r.AfterKill.Tasks || !r.AfterKill.KilledMidJob || r.AfterKill.DoneBefore >= r.Tasks {
		t.Errorf("after the kill: %+v", r.AfterKill)
	}
	if r.MaxShare <= 0 || r.MaxShare > 0.4 {
		t.Errorf("a node holds %.0f %% of the bytes stored", 100*r.MaxShare)
	}
	if r.Nodes != 5 || len(r.HeldByNode) != 5 {
		t.Errorf("%d nodes, of which %d hold data", r.Nodes, len(r.HeldByNode))
	}
	if !r.OK || len(r.WhyNot) > 0 {
		t.Errorf("not ok: %v", r.WhyNot)
	}
	if h := r.Hardware; h.Ran != "node 3" || h.Output == "" || len(h.Out) != 1 {
		t.Errorf("the task that asks for a graphics processor: %+v", h)
	}
	p := r.Pulled
	if p.To != p.Holder || p.From == p.Holder || p.Before < 1<<20 || p.After > p.Before/100 || p.Keepers != 3 || p.Pull == nil ||
		p.Pull.Here < p.Pull.Price || !p.Stays || p.Travels < p.Bytes*9/10 {
		t.Errorf("the agents that read: %+v", p)
	}
	checkFields(t, r)
	for line := range bytes.Lines(story.Bytes()) {
		if len(line) > 81 {
			t.Errorf("over 80 columns: %s", line)
		}
	}
}

// checkFields wants the report's JSON to have the fields that scripts rely on, with their types.
func checkFields(t *testing.T, r Report) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for name, like := range map[string]any{
		"nodes": 0.0, "tasks": 0.0, "tasks_on_holders": 0.0, "tasks_by_node": map[string]any{}, "code_bytes_moved": 0.0,
		"data_bytes_moved": 0.0, "data_bytes_read": 0.0, "seconds": 0.0, "output_cid": "", "ok": false,
		"hardware.on": "", "hardware.ran": "", "hardware.why": "",
		"pulled.holder": "", "pulled.from": "", "pulled.to": "", "pulled.bytes_before": 0.0, "pulled.bytes_after": 0.0, "pulled.stays": false,
		"pulled.moves_asked_for": 0.0, "pulled.keepers": 0.0, "pulled.pull": map[string]any{},
		"shipped.data_bytes_moved": 0.0, "shipped.seconds": 0.0, "shipped.output_cid": "",
		"after_kill.tasks": 0.0, "after_kill.completed": 0.0, "after_kill.killed_mid_job": false, "after_kill.output_cid": "",
		"counter.acknowledged": 0.0, "counter.final": 0.0, "counter.gap_s": 0.0, "counter.epoch_after": 0.0,
		"stream.sent": 0.0, "stream.received": 0.0, "stream.again": 0.0, "stream.left_out": 0.0, "stream.moved_to": "",
	} {
		at, in := all, name
		if outer, inner, ok := strings.Cut(name, "."); ok {
			at, _ = all[outer].(map[string]any)
			in = inner
		}
		if v, ok := at[in]; !ok || reflect.TypeOf(v) != reflect.TypeOf(like) {
			t.Errorf("the JSON has %s = %v, want one like %T", name, v, like)
		}
	}
}

// TestJudge: each thing that must hold makes the demo fail when it does not.
func TestJudge(t *testing.T) {
	good := Report{
		MaxShare: 0.21, Tasks: 10, OnHolders: 10, DataMoved: 9, DataRead: 1000, Output: "x", Shipped: Shipped{Output: "x"},
		AfterKill: AfterKill{Tasks: 10, Completed: 10, KilledMidJob: true, Output: "x"},
		Hardware:  Hardware{On: "node 3", Ran: "node 3"},
		Pulled:    Pulled{Holder: "node 2", From: "node 1", To: "node 2", Pull: &turn.Pull{Here: 1, There: 0.5}, Before: 1000, After: 9, Stays: true},
		Stream:    Stream{Killed: "node 1", MovedTo: "node 3", Sent: 7, Received: 7},
		Counter:   Counter{Killed: "node 1", MovedTo: "node 2", Acknowledged: 9, Final: 9, EpochBefore: 2, EpochAfter: 3},
	}
	d := run{r: good}
	if d.judge(); !d.r.OK {
		t.Fatal(d.r.WhyNot)
	}
	for name, spoil := range map[string]func(*Report){
		"share": func(r *Report) { r.MaxShare = 0.41 }, "holders": func(r *Report) { r.OnHolders-- },
		"moved": func(r *Report) { r.DataMoved = 10 }, "output": func(r *Report) { r.Output = "" },
		"uncounted": func(r *Report) { r.Counter.Final = 8 }, "doubled": func(r *Report) { r.Counter.Final = 10 },
		"unheard": func(r *Report) { r.Stream.Received = 6 }, "heard twice": func(r *Report) { r.Stream.Again = 1 },
		"out of order": func(r *Report) { r.Stream.LeftOut = 1 }, "bound to the dead": func(r *Report) { r.Stream.MovedTo = "node 1" },
		"did not move": func(r *Report) { r.Counter.EpochAfter = 2 },
		"shipped":      func(r *Report) { r.Shipped.Output = "y" }, "after the kill": func(r *Report) { r.AfterKill.Output = "y" },
		"no processor": func(r *Report) { r.Hardware.Ran = "node 2" }, "not drawn": func(r *Report) { r.Pulled.To = "node 1" },
		"told to": func(r *Report) { r.Pulled.Moves = 1 }, "no reason": func(r *Report) { r.Pulled.Pull = nil },
		"still travels": func(r *Report) { r.Pulled.After = 10 }, "drawn though off": func(r *Report) { r.Pulled.Stays = false },
		"lost": func(r *Report) { r.AfterKill.Completed-- }, "no kill": func(r *Report) { r.AfterKill.KilledMidJob = false },
	} {
		d := run{r: good}
		spoil(&d.r)
		if d.judge(); d.r.OK || len(d.r.WhyNot) != 1 {
			t.Errorf("%s: %v %v", name, d.r.OK, d.r.WhyNot)
		}
	}
}

// TestTooLittleToShare: what cannot be spread over five nodes is refused, and said so.
func TestTooLittleToShare(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("a few words\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), Options{Path: dir})
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "it takes to share them") {
		t.Fatalf("got %v", err)
	}
}
