package api

import (
	"net/http"
	"path/filepath"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
)

// reports turns a room's progress into events.
func reports(send func(Event)) func(data.Progress) {
	return func(p data.Progress) {
		unit := "bytes"
		if p.Phase == "agents" { // of a node that leaves
			unit = "agents"
		}
		send(Event{Type: "progress", Progress: &Progress{Phase: p.Phase, Done: int64(p.Done), Total: int64(p.Total), Unit: unit}})
	}
}

func absolute(what, path string) error {
	if !filepath.IsAbs(path) {
		return shoal.E(shoal.Invalid, what+" '"+path+"'", "the path is not absolute", "name it from the root: the node has a working directory of its own")
	}
	return nil
}

func (s *Server) put(r *http.Request, send func(Event)) (any, error) {
	var req PutRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if err := absolute("put", req.Path); err != nil {
		return nil, err
	}
	res, err := s.node.Put(r.Context(), req.Path, data.PutOptions{
		Name: req.Name, Replicas: req.Replicas, Split: req.Split, Public: req.Public, PartitionBytes: req.PartitionBytes,
		InPlace: req.InPlace, Needs: req.Needs, Progress: reports(send),
	})
	if err != nil {
		return nil, err
	}
	m := res.Manifest
	return PutResult{
		CID: m.Root.String(), Name: m.Name, Bytes: m.Bytes, Partitions: len(m.Partitions), Replicas: m.Replicas, Needs: m.Needs,
		Holders: holders(res.Holders), Warnings: res.Warnings, Seconds: res.Seconds,
	}, nil
}

func holders(list []shoal.Holder) []HolderResult {
	out := make([]HolderResult, len(list))
	for i, h := range list {
		out[i] = HolderResult{Peer: h.Peer, Partitions: h.Partitions, Extra: h.Extra, Bytes: h.Bytes, AgeS: max(0, time.Since(h.Asked).Seconds())}
	}
	return out
}

func (s *Server) get(r *http.Request, send func(Event)) (any, error) {
	var req GetRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	c, err := shoal.ParseCID(req.CID)
	if err != nil {
		return nil, err
	}
	if err := absolute("get to", req.Out); err != nil {
		return nil, err
	}
	begun := time.Now()
	res, err := s.node.Get(r.Context(), c, req.Sub, req.Out, data.GetOptions{Keep: !req.NoKeep, From: req.From, Progress: reports(send)})
	return GetResult{CID: req.CID, Out: req.Out, Bytes: res.Written, Moved: res.Moved, Seconds: time.Since(begun).Seconds()}, err
}

func (s *Server) ls(r *http.Request) (any, error) {
	c, err := pathCID(r)
	if err != nil {
		return nil, err
	}
	list, err := s.node.List(r.Context(), c, r.URL.Query().Get("path"))
	out := make([]Entry, len(list))
	for i, e := range list {
		out[i] = Entry{Name: e.Name, Dir: e.Dir, Bytes: e.Bytes}
	}
	return out, err
}

func pathCID(r *http.Request) (cid.Cid, error) { return shoal.ParseCID(r.PathValue("cid")) }

func (s *Server) datasets(*http.Request) (any, error) {
	out := []Dataset{}
	for _, d := range s.node.Datasets() {
		out = append(out, Dataset{
			CID: d.Root.String(), Name: d.Name, Bytes: d.Bytes, Held: d.Held, Partitions: d.Partitions, Pinned: d.Pinned, Public: d.Public,
			Extra: d.Extra,
		})
	}
	return out, nil
}

func (s *Server) where(r *http.Request, send func(Event)) (any, error) {
	c, err := pathCID(r)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	if r.URL.Query().Get("trace") != "" {
		ctx = shoal.WithTrace(ctx, func(h shoal.Hop) {
			send(Event{Type: "hop", Hop: &Hop{
				Peer: h.Peer, Event: h.Event, Found: h.Found, AfterMS: h.After.Seconds() * 1e3, Error: h.Err,
			}})
		})
	}
	list, _, err := s.node.Where(ctx, c)
	return holders(list), err
}

func (s *Server) pin(r *http.Request, _ func(Event)) (any, error) {
	c, err := pathCID(r)
	if err != nil {
		return nil, err
	}
	m, err := s.node.Pin(r.Context(), c)
	return PinResult{CID: c.String(), Name: m.Name, Bytes: m.Bytes}, err
}

func (s *Server) unpin(r *http.Request) (any, error) {
	c, err := pathCID(r)
	if err != nil {
		return nil, err
	}
	return PinResult{CID: c.String()}, s.node.Unpin(r.Context(), c)
}

func (s *Server) gc(r *http.Request) (any, error) {
	freed, blocks, err := s.node.GC(r.Context())
	return GCResult{Bytes: freed, Blocks: blocks}, err
}
