package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/plans"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/wire"
)

// upload keeps a module on this node, so that a run can name it.
func (s *Server) upload(r *http.Request) (any, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, wire.MaxModule))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, shoal.E(shoal.Invalid, "module", fmt.Sprintf("it is larger than %d MiB", wire.MaxModule>>20), "strip it")
		}
		return nil, shoal.Wrap(shoal.Invalid, "module", err)
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "module"
	}
	c, info, err := s.node.Upload(r.Context(), name, b)
	if err != nil {
		return nil, err
	}
	return ModuleResult{CID: c.String(), ModuleInfo: info}, nil
}

func (s *Server) module(r *http.Request) (any, error) {
	c, err := shoal.ParseCID(r.PathValue("cid"))
	if err != nil {
		return nil, err
	}
	info, err := s.node.Inspect(r.Context(), c)
	return ModuleResult{CID: c.String(), ModuleInfo: info}, err
}

// run reads the request from the body's first line and standard input from the rest.
func (s *Server) run(r *http.Request, send func(Event)) (any, error) {
	body := &lineReader{r: r.Body}
	body.next()
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var req RunRequest
	if err := malformed(r, dec.Decode(&req)); err != nil {
		return nil, err
	}
	spec, err := s.spec(r.Context(), req)
	if err != nil {
		return nil, err
	}
	spec.Stdout = events{send, "stdout"}
	spec.Stderr = events{send, "stderr"}
	if req.Each || req.Detach {
		return s.runJob(r.Context(), spec, req, send)
	}
	if req.Stdin {
		spec.Stdin = &lines{dec: dec, body: body}
	}
	id, out, explain, err := s.node.RunTask(r.Context(), spec)
	why := &cost.Explained{Of: []cost.Explain{explain}}
	if err != nil {
		if req.ExplainAll && len(explain.Choices) > 0 {
			send(Event{Type: "explain", Explain: why})
		}
		return nil, err
	}
	res := RunResult{
		Task: id, Peer: out.Peer, Exit: out.Exit, Gas: out.Gas, Seconds: out.Seconds, Output: out.Output,
		CodeMoved: out.CodeMoved, DataMoved: out.DataMoved, DataRead: out.DataRead, Tasks: 1,
		ByNode: map[shoal.PeerID]int{out.Peer: 1},
	}
	if out.Holder {
		res.OnHolders = 1
	}
	if req.ExplainAll {
		res.Explain = why
	}
	return res, nil
}

// spec resolves the names in a request.
func (s *Server) spec(ctx context.Context, req RunRequest) (node.RunSpec, error) {
	spec := node.RunSpec{
		Name: req.Module, Args: req.Args, Needs: req.Needs, Each: req.Each, Detach: req.Detach,
		Limits: shoal.Limits{Gas: req.Gas, Memory: req.Memory, Output: req.OutputBytes, Time: time.Duration(req.TimeoutS * float64(time.Second))},
	}
	var err error
	if spec.Module, err = s.node.Code(ctx, req.Module); err != nil {
		return spec, err
	}
	if req.Reduce != "" {
		c, err := s.node.Code(ctx, req.Reduce)
		if err != nil {
			return spec, err
		}
		spec.Reduce = &c
	}
	if req.On != "" {
		if spec.On, err = s.node.Member(string(req.On)); err != nil {
			return spec, err
		}
	}
	for _, d := range req.Data {
		c, err := shoal.ParseCID(d.CID)
		if err != nil {
			return spec, err
		}
		spec.Inputs = append(spec.Inputs, shoal.Input{Name: d.Name, CID: c})
	}
	return spec, nil
}

func (s *Server) runJob(ctx context.Context, spec node.RunSpec, req RunRequest, send func(Event)) (any, error) {
	job, err := s.node.StartJob(ctx, spec)
	if err != nil {
		return nil, err
	}
	if req.Detach {
		return RunResult{Task: job.ID(), Detached: true}, nil
	}
	for e := range job.Events() {
		send(Event{Type: "task", Task: &TaskEvent{
			Index: e.Index, State: e.State, Peer: e.Peer, Why: e.Why, Done: e.Done, Total: e.Total, Seconds: e.Seconds,
		}})
		send(Event{Type: "progress", Progress: &Progress{Phase: "tasks", Done: int64(e.Done), Total: int64(e.Total), Unit: "tasks"}})
	}
	res, err := job.Wait(ctx)
	if err != nil {
		if why := explained(res); req.ExplainAll && len(why.Of) > 0 {
			send(Event{Type: "explain", Explain: why})
		}
		return nil, err
	}
	return jobResult(job.ID(), res, req), nil
}

// explained is the explanation of a job with one task per partition.
func explained(r plans.Result) *cost.Explained {
	e := &cost.Explained{Each: true, Of: slices.Clone(r.Explain)}
	if len(r.Reduced.Choices) > 0 {
		e.Of = append(e.Of, r.Reduced)
	}
	return e
}

func jobResult(id shoal.TaskID, r plans.Result, req RunRequest) RunResult {
	out := RunResult{
		Task: id, Peer: r.Peer, Exit: r.Exit, Gas: r.Gas, Seconds: r.Seconds, Output: r.Output, Outputs: r.Outputs, CodeMoved: r.CodeMoved,
		DataMoved: r.DataMoved, DataRead: r.DataRead, ResultMove: r.ResultMoved, Tasks: r.Tasks, OnHolders: r.OnHolders, Retries: r.Retries,
		ByNode: map[shoal.PeerID]int{}, Copies: r.Copies, CopiesWon: r.CopiesWon, CopyMoved: r.CopyMoved,
	}
	for p, n := range r.ByNode {
		out.ByNode[shoal.PeerID(p)] = n
	}
	if req.ExplainAll {
		out.Explain = explained(r)
	}
	return out
}

// events writes a guest's stream as events.
type events struct {
	send func(Event)
	kind string
}

func (e events) Write(p []byte) (int, error) {
	e.send(Event{Type: e.kind, Data: p})
	return len(p), nil
}

// lines reads standard input from Input lines.
type lines struct {
	dec  *json.Decoder
	body *lineReader
	rest []byte
	eof  bool
}

func (l *lines) Read(p []byte) (int, error) {
	for len(l.rest) == 0 {
		if l.eof {
			return 0, io.EOF
		}
		var in Input
		l.body.next()
		if err := l.dec.Decode(&in); err != nil {
			return 0, io.ErrUnexpectedEOF
		}
		l.rest, l.eof = in.Data, in.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
