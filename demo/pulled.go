package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
)

// Pulled is two agents that keep reading data that another node holds: one moves to it, and one stays, as its node has
// gravity off.
type Pulled struct {
	Bytes   uint64     `json:"bytes"` // of the data
	Holder  string     `json:"holder"`
	From    string     `json:"from"`
	To      string     `json:"to"` // where it is found in the end
	Keepers int        `json:"keepers"`
	Moves   int        `json:"moves_asked_for"` // in its history: somebody told it to
	Pull    *turn.Pull `json:"pull,omitempty"`  // why it moved, with both costs
	Reads   int        `json:"reads"`           // so many each
	Before  uint64     `json:"bytes_before"`    // of data that moved for so many reads, before it moved
	After   uint64     `json:"bytes_after"`     // and after
	Seconds float64    `json:"seconds"`         // until it was there
	Still   string     `json:"still"`           // where the other one is, and was
	Stays   bool       `json:"stays"`
	Travels uint64     `json:"bytes_where_it_stays"` // of data, for so many reads of the other one
}

const (
	pulledBytes = 12 << 20
	pulledReads = 12 // of a MiB each, one after the other
	pulledTime  = 30 * time.Second
)

// pulled has two agents read what one node holds, and looks where they are after a while.
func (d *run) pulled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	holder, reader, still := d.f.nodes[2], d.f.nodes[1], d.f.nodes[d.f.off]
	set, err := d.putPulled(ctx, holder)
	if err != nil {
		return err
	}
	p := &d.r.Pulled
	p.Bytes, p.Reads, p.Still = pulledBytes, pulledReads, d.f.names[still.ID()]
	held, _, err := holder.Where(ctx, set)
	if err != nil || len(held) != 1 {
		return fmt.Errorf("demo: what the agents read is on %d nodes: %w", len(held), err)
	}
	p.Holder = d.f.names[held[0].Peer]
	moving, err := d.reads(ctx, "demo-moves", reader, set)
	if err != nil {
		return err
	}
	staying, err := d.reads(ctx, "demo-stays", still, set)
	if err != nil {
		return err
	}
	if p.From, p.Keepers, err = moving.at(ctx); err != nil {
		return err
	}
	if p.Before, err = moving.round(ctx); err != nil {
		return err
	}
	begun := time.Now()
	for p.To != p.Holder && time.Since(begun) < pulledTime {
		if _, err := moving.round(ctx); err != nil {
			return err
		}
		if p.Travels, err = staying.round(ctx); err != nil {
			return err
		}
		if p.To, p.Keepers, err = moving.at(ctx); err != nil {
			return err
		}
		d.s.running("   an agent reads on %s; it lives on %s", p.Holder, p.To)
	}
	p.Seconds = time.Since(begun).Seconds()
	if p.After, err = moving.round(ctx); err != nil {
		return err
	}
	list, err := reader.AgentHistory(ctx, moving.key)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch e.What {
		case turn.Moved:
			p.Moves++
		case turn.Drawn:
			p.Pull = e.Pull
		}
	}
	at, _, err := staying.at(ctx)
	p.Stays = at == p.Still
	d.s.drawn(*p)
	return err
}

// putPulled puts data of which one node alone has a copy.
func (d *run) putPulled(ctx context.Context, at *node.Node) (cid.Cid, error) {
	b := make([]byte, pulledBytes)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	file := filepath.Join(d.f.dir, "readings.bin")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return cid.Undef, shoal.Wrap(shoal.Internal, "demo: "+file, err)
	}
	res, err := at.Put(ctx, file, data.PutOptions{Replicas: 1, PartitionBytes: pulledBytes})
	return res.Manifest.Root, err
}

// readingAgent is one that reads of a dataset.
type readingAgent struct {
	d    *run
	n    *node.Node // that made it, and calls it
	key  string
	data cid.Cid
}

// reads makes an agent that lives on a node.
func (d *run) reads(ctx context.Context, name string, on *node.Node, set cid.Cid) (*readingAgent, error) {
	made, err := on.CreateAgent(ctx, "example:readerc", cid.Undef, agents.CreateOptions{Name: name})
	if err != nil {
		return nil, err
	}
	_, err = on.CallAgent(ctx, made.Key, shoal.CallRequest{Method: "total"})
	return &readingAgent{d, on, made.Key, set}, err
}

// round has it read all of the data, and says how many bytes moved for that.
func (a *readingAgent) round(ctx context.Context) (uint64, error) {
	before := a.d.f.moved()
	for i := range pulledReads {
		const each = pulledBytes / pulledReads
		payload := fmt.Appendf(nil, "%s\n\n%d\n%d", a.data, i*each, each)
		if _, err := a.n.CallAgent(ctx, a.key, shoal.CallRequest{Method: "sum", Payload: payload, Read: true}); err != nil {
			return 0, shoal.Wrap(shoal.Internal, "demo: an agent that reads", err)
		}
	}
	return a.d.f.moved().Minus(before).Data, nil
}

// at says where it lives, and how many keep it.
func (a *readingAgent) at(ctx context.Context) (string, int, error) {
	s, err := a.n.ShowAgent(ctx, a.key)
	if err != nil {
		return "", 0, err
	}
	return a.d.f.names[s.Leader], len(s.Keepers), nil
}

func (s *story) drawn(p Pulled) {
	s.say("")
	s.say("5. Two agents keep reading %s that %s holds; one may move to it", size(p.Bytes), p.Holder)
	if p.Pull != nil {
		s.say("   it lived on %s, and after %.1f s is found on %s; nobody told it to", p.From, p.Seconds, p.To)
		s.say("   waited for distance: %s there, %s here; a move: %s", costs(p.Pull.Here), costs(p.Pull.There), costs(p.Pull.Price))
	} else {
		s.say("   it lives on %s, and has not moved", p.To)
	}
	s.say("   %d reads moved %s of data before, %s after; it has %d keepers", p.Reads, size(p.Before), size(p.After), p.Keepers)
	where := "is on " + p.Still + " still"
	if !p.Stays {
		where = "is gone from " + p.Still
	}
	s.say("   with gravity off the other %s: %s for as many reads", where, size(p.Travels))
}

func costs(seconds float64) string { return fmt.Sprintf("%.2f s", seconds) }
