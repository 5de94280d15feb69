package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/plans"
)

// Nodes is how many nodes the demo starts.
const Nodes = 5

// mostShare is the part of all stored bytes (two copies of the data) that one node may hold before the
// jobs: twice the mean of five nodes.
const mostShare = 0.4

// Report is what the demo measured.
type Report struct {
	Nodes      int            `json:"nodes"`
	CID        string         `json:"cid"`
	Bytes      uint64         `json:"bytes"`
	HeldByNode map[string]int `json:"partitions_by_node"`
	MaxShare   float64        `json:"max_share_of_copies"` // the fullest node's part of all bytes stored, before the jobs

	Tasks       int            `json:"tasks"`
	OnHolders   int            `json:"tasks_on_holders"`
	ByNode      map[string]int `json:"tasks_by_node"`
	CodeMoved   uint64         `json:"code_bytes_moved"`
	DataMoved   uint64         `json:"data_bytes_moved"`
	ResultMoved uint64         `json:"result_bytes_moved"`
	DataRead    uint64         `json:"data_bytes_read"`
	Seconds     float64        `json:"seconds"`
	Output      string         `json:"output_cid"`

	Shipped   Shipped   `json:"shipped"`
	Hardware  Hardware  `json:"hardware"`
	Pulled    Pulled    `json:"pulled"`
	AfterKill AfterKill `json:"after_kill"`
	Counter   Counter   `json:"counter"`
	Stream    Stream    `json:"stream"`
	OK        bool      `json:"ok"`
	WhyNot    []string  `json:"why_not,omitempty"` // what is not as it should be
}

// Shipped is the same job with all tasks on one node, to which the data travels.
type Shipped struct {
	Node        string  `json:"node"`
	Tasks       int     `json:"tasks"`
	OnHolders   int     `json:"tasks_on_holders"`
	CodeMoved   uint64  `json:"code_bytes_moved"`
	DataMoved   uint64  `json:"data_bytes_moved"`
	ResultMoved uint64  `json:"result_bytes_moved"`
	Seconds     float64 `json:"seconds"`
	Output      string  `json:"output_cid"`
}

// AfterKill is the same job with a node killed while it has tasks pending.
type AfterKill struct {
	Killed       string  `json:"killed"`
	Pending      int     `json:"pending_when_killed"`
	DoneBefore   int     `json:"done_when_killed"`
	Tasks        int     `json:"tasks"`
	Completed    int     `json:"completed"`
	Retries      int     `json:"retries"`
	KilledMidJob bool    `json:"killed_mid_job"`
	Seconds      float64 `json:"seconds"`
	Output       string  `json:"output_cid"`
}

// Options say what to show.
type Options struct {
	Path string    // the folder or file whose words are counted
	Text io.Writer // where to tell the story; nil: nowhere
	Live bool      // Text is a terminal
	Log  *slog.Logger
	// Result is given the counts that the last job made, as written by the reduce; nil: not wanted.
	Result func(counts []byte)
}

// fewest is how many partitions there must be for a node to be killed half-way.
const fewest = 3

// Run runs the demo. It leaves nothing behind.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := check(o.Path); err != nil {
		return Report{}, err
	}
	s := &story{w: o.Text, live: o.Live}
	s.title()
	f, err := launch(ctx, Nodes, o.Log)
	if err != nil {
		return Report{}, err
	}
	defer f.close()
	s.launched(f)
	d := &run{f: f, s: s, r: Report{Nodes: Nodes}}
	for _, act := range []func(context.Context) error{
		func(ctx context.Context) error { return d.put(ctx, o.Path) }, d.codeToData, d.dataToCode, d.hardware, d.pulled, d.killed,
	} {
		if err := act(ctx); err != nil {
			return d.r, err
		}
	}
	if o.Result != nil {
		if err := d.read(ctx, o.Result); err != nil {
			return d.r, err
		}
	}
	if err := d.counter(ctx); err != nil {
		return d.r, err
	}
	d.judge()
	s.verdict(d.r)
	return d.r, nil
}

// run is the state of one demo.
type run struct {
	f       *fleet
	s       *story
	r       Report
	root    cid.Cid
	mapper  cid.Cid
	reducer cid.Cid
}

func (d *run) lead() *node.Node { return d.f.nodes[0] }

func (d *run) put(ctx context.Context, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	part, err := partitionBytes(abs)
	if err != nil {
		return err
	}
	res, err := d.lead().Put(ctx, abs, data.PutOptions{Replicas: 2, PartitionBytes: part, Visible: true, Progress: d.s.putting})
	if err != nil {
		return err
	}
	m := res.Manifest
	if n := len(m.Partitions); n < fewest {
		return shoal.E(shoal.Invalid, "demo "+path, fmt.Sprintf("%s of files make %d of the %d parts it takes to share them among five nodes",
			size(m.Bytes), n, fewest), "name a folder with more text in it: shoal demo PATH")
	}
	d.root, d.r.CID, d.r.Bytes = m.Root, m.Root.String(), m.Bytes
	d.r.HeldByNode = map[string]int{}
	var most, sum uint64
	for _, h := range res.Holders {
		d.r.HeldByNode[d.f.names[h.Peer]] = len(h.Partitions)
		most, sum = max(most, h.Bytes), sum+h.Bytes
	}
	if sum > 0 {
		d.r.MaxShare = float64(most) / float64(sum)
	}
	if d.mapper, err = d.lead().Module(ctx, "example:wordcount"); err != nil {
		return err
	}
	if d.reducer, err = d.lead().Module(ctx, "example:wordsum"); err != nil {
		return err
	}
	d.s.spread(abs, res, d.f)
	return nil
}

// job runs the word count; during is called for each event.
func (d *run) job(ctx context.Context, on shoal.PeerID, during func(*plans.Handle, plans.Event)) (plans.Result, node.Traffic, float64, error) {
	before, begun := d.f.moved(), time.Now()
	h, err := d.lead().StartJob(ctx, node.RunSpec{
		Name: "example:wordcount", Module: d.mapper, Reduce: &d.reducer, Each: true, On: on,
		Inputs: []shoal.Input{{CID: d.root}},
	})
	if err != nil {
		return plans.Result{}, node.Traffic{}, 0, err
	}
	for e := range h.Events() {
		d.s.task(e)
		if during != nil {
			during(h, e)
		}
	}
	res, err := h.Wait(ctx)
	seconds := time.Since(begun).Seconds()
	d.s.clear()
	return res, d.f.moved().Minus(before), seconds, err
}

func (d *run) codeToData(ctx context.Context) error {
	res, t, seconds, err := d.job(ctx, "", nil)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "demo: the program sent to the data", err)
	}
	r := &d.r
	r.Tasks, r.OnHolders, r.DataRead, r.Output = res.Tasks, res.OnHolders, res.DataRead, res.Output
	r.CodeMoved, r.DataMoved, r.ResultMoved, r.Seconds = t.Code, t.Data, t.Result, seconds
	r.ByNode = map[string]int{}
	for p, k := range res.ByNode {
		r.ByNode[d.f.names[shoal.PeerID(p)]] = k
	}
	return nil
}

func (d *run) dataToCode(ctx context.Context) error {
	to := d.f.nodes[len(d.f.nodes)-1]
	res, t, seconds, err := d.job(ctx, to.ID(), nil)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "demo: the data shipped to one node", err)
	}
	d.r.Shipped = Shipped{
		Node: d.f.names[to.ID()], Tasks: res.Tasks, OnHolders: res.OnHolders, CodeMoved: t.Code, DataMoved: t.Data,
		ResultMoved: t.Result, Seconds: seconds, Output: res.Output,
	}
	d.s.sideBySide(d.r)
	// What was shipped is dropped again, so that the third job finds the data where put left it.
	_, _, err = to.GC(ctx)
	return err
}

func (d *run) killed(ctx context.Context) error {
	k := &d.r.AfterKill
	res, _, seconds, err := d.job(ctx, "", func(h *plans.Handle, e plans.Event) {
		if k.Killed != "" || e.Done*10 < e.Total || e.Done == 0 {
			return
		}
		var victim shoal.PeerID
		for _, c := range h.Progress().Nodes {
			if p := c.Node; p != d.lead().ID() && c.Pending+c.Running > k.Pending {
				victim, k.Pending = p, c.Pending+c.Running
			}
		}
		if victim == "" {
			return
		}
		k.Killed, k.DoneBefore, k.KilledMidJob = d.f.names[victim], e.Done, e.Done < e.Total
		d.f.kill(victim)
	})
	if err != nil {
		return shoal.Wrap(shoal.Internal, "demo: a node killed half-way", err)
	}
	k.Tasks, k.Completed, k.Retries, k.Seconds, k.Output = res.Tasks, res.Done, res.Retries, seconds, res.Output
	d.s.survived(d.r)
	return nil
}

// judge says whether everything is as it should be, and if not, what is not.
func (d *run) judge() {
	r := &d.r
	r.WhyNot = nil
	want := func(ok bool, format string, args ...any) {
		if !ok {
			r.WhyNot = append(r.WhyNot, fmt.Sprintf(format, args...))
		}
	}
	want(r.MaxShare <= mostShare, "one node holds %.0f %% of the bytes stored: a file is too large a part of them", 100*r.MaxShare)
	want(r.OnHolders == r.Tasks, "%d of %d tasks ran on a holder of their data", r.OnHolders, r.Tasks)
	want(r.DataMoved*100 < max(r.DataRead, 1), "%s of data moved, of %s read", size(r.DataMoved), size(r.DataRead))
	want(r.Output != "" && r.Output == r.Shipped.Output && r.Output == r.AfterKill.Output, "the three results differ")
	want(r.AfterKill.Completed == r.AfterKill.Tasks, "after the kill %d of %d tasks completed", r.AfterKill.Completed, r.AfterKill.Tasks)
	want(r.AfterKill.KilledMidJob, "the job was over before a node could be killed: try a larger folder")
	h := r.Hardware
	want(h.Ran != "" && h.Ran == h.On, "the task that asks for what %s has ran on %s", h.On, h.Ran)
	p := r.Pulled
	want(p.To == p.Holder && p.Holder != p.From, "the agent that reads what %s holds is on %s", p.Holder, p.To)
	want(p.Pull != nil && p.Pull.Here > p.Pull.There && p.Moves == 0, "the agent's history does not say why it moved by itself")
	want(p.After*100 < max(p.Before, 1), "%s of data moved for an agent before it moved to it, %s after", size(p.Before), size(p.After))
	want(p.Stays, "an agent did not stay where gravity is off")
	c := r.Counter
	want(c.Final >= c.Acknowledged && c.Final <= c.Acknowledged+c.Unknown, "%d increments acknowledged, %d counted", c.Acknowledged, c.Final)
	want(c.Acknowledged > 0 && c.EpochAfter > c.EpochBefore && c.MovedTo != c.Killed, "the counter did not outlive its node")
	m := r.Stream
	want(m.Received >= m.Sent && m.Received <= m.Sent+m.Unknown && m.Again == 0 && m.LeftOut == 0,
		"%d messages sent, %d received, %d twice, %d out of order", m.Sent, m.Received, m.Again, m.LeftOut)
	want(m.Sent > 0 && m.MovedTo != m.Killed, "the agent that is bound to a topic did not outlive its node")
	r.OK = len(r.WhyNot) == 0
}

// read hands over the last job's counts.
func (d *run) read(ctx context.Context, give func([]byte)) error {
	c, err := shoal.ParseCID(d.r.AfterKill.Output)
	if err != nil {
		return errors.Join(fmt.Errorf("demo: no output"), err)
	}
	b, err := d.lead().ReadFile(ctx, c, "counts.tsv")
	if err == nil {
		give(b)
	}
	return err
}
