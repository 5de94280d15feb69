package agents

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// migrate is the method that new code may have to bring the state it finds into its own form. It runs once, before
// the first turn of the new code; a reply of "more" has it called again, in the same step: all of it happens, or
// nothing.
const (
	migrate     = "migrate"
	migrateMore = "more"
	maxSteps    = 1000 // calls of migrate
)

func noMigrate() error {
	return shoal.E(shoal.NotFound, "method '"+migrate+"'", "it is the upgrade's, and nobody else calls it", "")
}

// newCode is an upgrade on its way through the mailbox.
type newCode struct {
	manifest Manifest
	sealed   []byte
	by       shoal.PeerID
	code     shoal.Behaviour
}

// Upgraded is what came of an upgrade.
type Upgraded struct {
	Code     string   `cbor:"c" json:"code"`
	Manifest uint64   `cbor:"n" json:"manifest"`
	Ready    int      `cbor:"r" json:"keepers_ready"` // keepers that had compiled it before it took effect
	Missing  []string `cbor:"m,omitempty" json:"missing_methods,omitempty"`
}

// Upgrade has an agent run other code, which this node can fetch: a majority of its keepers compile it first; it
// takes effect between two turns, after its migrate has run. If anything fails the old code stays, and the
// state as it was. Missing names methods that callers, or timers, may want and the new code has not.
func (a *Agents) Upgrade(ctx context.Context, agent, code string) (*Upgraded, error) {
	what := "upgrade agent " + agent
	if err := a.keepCode(ctx, code, a.Peers.Self()); err != nil { // the keepers fetch it from here
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	if _, err := a.behaviour(ctx, code); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	s, err := a.Show(ctx, agent)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(s.Code, NativeCode) {
		return nil, shoal.E(shoal.Refused, what, "its code, "+s.Code+", comes with the node", "upgrade the nodes")
	}
	if s.Code == code {
		return nil, shoal.E(shoal.Exists, what, "it runs this code already", "")
	}
	key, _, _, err := parseAgent(s.Key)
	if err != nil {
		return nil, err
	}
	m := Manifest{Fabric: a.Members.Fabric(), Agent: []byte(key), Number: s.Manifest + 1, Code: code, At: a.cfg.Now().UnixMilli()}
	b, err := a.operate(ctx, s.Key, question{Op: opUpgrade, Payload: m.seal(a.Key)})
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	var up Upgraded
	return &up, wire.Unmarshal("what came of an upgrade", b, &up)
}

// upgrade does it, at the leader.
func (x *actor) upgrade(ctx context.Context, from shoal.PeerID, sealed []byte) ([]byte, error) {
	m, by, err := openManifest(x.a.Members.Fabric(), x.key, sealed)
	if err != nil {
		return nil, err
	}
	if by != x.genesis.Owner && by != from && !x.a.member(by) {
		return nil, shoal.E(shoal.Refused, "manifest", "signed by nobody of this fabric", "")
	}
	up := Upgraded{Code: m.Code, Manifest: m.Number}
	x.mu.Lock()
	now, err := turn.ReadMeta(x.state)
	runs, members := x.program, x.mark.Conf.Members
	x.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case now.Manifest == m.Number && runs == m.Code:
		return wire.Marshal(up), nil // an earlier try did it
	case now.Manifest+1 != m.Number:
		return nil, shoal.E(shoal.Refused, "manifest", fmt.Sprintf("its number is %d, and %d is in force", m.Number, now.Manifest),
			"somebody else upgraded it meanwhile: look at 'shoal agent history', and upgrade again")
	}
	if up.Ready, err = x.a.makeReady(ctx, m.Code, by, members); err != nil {
		return nil, err
	}
	code, err := x.a.behaviour(ctx, m.Code)
	if err != nil {
		return nil, err
	}
	if old, err := x.behaviour(ctx); err == nil {
		for _, name := range old.Methods() {
			if !slices.Contains(code.Methods(), name) {
				up.Missing = append(up.Missing, name)
			}
		}
	}
	_, err = x.enqueue(ctx, &mail{ctx: ctx, code: &newCode{manifest: m, sealed: sealed, by: by, code: code}})
	return encode(up, err)
}

// makeReady has a majority of keepers fetch and compile code, so that whoever of them leads next need not.
func (a *Agents) makeReady(ctx context.Context, code string, from shoal.PeerID, members []group.Member) (ready int, err error) {
	body := wire.Marshal(readiness{Code: code, From: from})
	errs := make(chan error, len(members))
	voters := 0
	for _, m := range members {
		if m.Role == group.Learner {
			continue
		}
		voters++
		a.work.Go(func() {
			if m.Peer == a.Peers.Self() {
				errs <- a.ready(ctx, code, from)
				return
			}
			ask, cancel := context.WithTimeout(ctx, readyTime)
			defer cancel()
			_, err := a.Peers.Ask(ask, m.Peer, "agents.ready", body)
			errs <- err
		})
	}
	for range voters {
		if e := <-errs; e == nil {
			ready++
		} else {
			err = e
		}
	}
	if ready > voters/2 {
		return ready, nil
	}
	return ready, shoal.Wrap(shoal.Unavailable, fmt.Sprintf("%d of its %d keepers have the new code ready", ready, voters), err)
}

// readyTime bounds what a keeper needs to fetch and compile a module.
const readyTime = time.Minute

type readiness struct {
	Code string       `cbor:"c"`
	From shoal.PeerID `cbor:"f"` // has it
}

func (a *Agents) onReady(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var r readiness
	if err := wire.Unmarshal("code to make ready", req, &r); err != nil {
		return nil, err
	}
	return nil, a.ready(ctx, r.Code, r.From, from)
}

func (a *Agents) ready(ctx context.Context, code string, from ...shoal.PeerID) error {
	if err := a.keepCode(ctx, code, from...); err != nil {
		return err
	}
	_, err := a.behaviour(ctx, code)
	return err
}

// change has the agent run other code, between two turns. The caller is the worker and holds mu, which is given up
// while migrate runs and until the change is committed.
func (x *actor) change(m *mail) {
	if _, last := x.pipe.Depth(); last > 0 {
		x.settled(last)
	}
	if !x.open {
		m.done(nil, notHere())
		return
	}
	n := m.code
	if meta, err := turn.ReadMeta(x.state); err != nil || meta.Manifest+1 != n.manifest.Number {
		if err == nil {
			err = shoal.E(shoal.Refused, "manifest", "another came first", "look at 'shoal agent history', and upgrade again")
		}
		m.done(nil, err)
		return
	}
	epoch, life := x.epoch, x.life
	now := time.UnixMilli(max(x.a.cfg.Now().UnixMilli(), x.lastTime()))
	stage := turn.NewStage(locked{x, x.pipe}, now, x.a.cfg.StateMax, false)
	x.mu.Unlock()
	err := x.migrate(life, m, stage, epoch, now)
	var e *turn.Entry
	if err == nil {
		e, err = stage.Turn(turn.Message{Method: migrate}, nil)
	}
	x.mu.Lock()
	if err == nil && (!x.open || x.epoch != epoch) {
		err = notHere()
	}
	if err != nil {
		m.done(nil, err)
		return
	}
	e.Kind, e.Code, e.Manifest, e.Signed = turn.Code, []byte(n.manifest.Code), n.manifest.Number, n.sealed
	e.Event = &turn.Event{
		What: turn.Upgraded, At: e.At, Epoch: epoch, Generation: x.rec.Generation, Leader: x.a.Peers.Self(), Code: n.manifest.Code, By: n.by,
	}
	if x.propose(e, func(err error) { m.done(nil, err) }) {
		x.noted.Epoch, x.noted.Generation = epoch, x.rec.Generation
		if _, last := x.pipe.Depth(); last > 0 { // no turn runs before it is known which code it runs on
			x.settled(last)
		}
	}
}

// migrate runs the new code's method of that name, if it has one, on an instance that is used for nothing else.
func (x *actor) migrate(life context.Context, m *mail, s *turn.Stage, epoch uint64, now time.Time) error {
	inst, err := m.code.code.Open(life)
	if err != nil {
		return err
	}
	defer inst.Close()
	var whole shoal.Turn // what all steps have in common
	shared := x.a.draft(&whole)
	for step := range maxSteps {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(life, x.a.cfg.TurnTime)
		out := &effects{x: x, stage: s, mail: m}
		reply, err := inst.Turn(ctx, &shoal.Turn{
			Agent: x.key, Method: migrate, Caller: string(m.code.by), Epoch: epoch, Now: now,
			Seed: seed(x.key, epoch, fmt.Sprint(migrate, m.code.manifest.Number, step)), State: s, Out: out, Data: reading{x}, Shared: whole.Shared,
		})
		cancel()
		x.keepLines(epoch, out.lines)
		switch {
		case step == 0 && shoal.KindOf(err) == shoal.NotFound:
			return nil // it has none
		case err != nil:
			return shoal.Wrap(shoal.Failed, "migrate", err)
		case string(reply) != migrateMore:
			return shared.Commit(life)
		}
	}
	return shoal.E(shoal.Failed, "migrate", fmt.Sprintf("it wants more after %d calls", maxSteps), "have it set a timer to go on later")
}

// recode notes that the state says another code. The caller holds mu.
func (x *actor) recode() error {
	p, err := program(x.state, x.genesis)
	if err != nil || p == x.program {
		return err
	}
	x.program, x.code = p, nil
	x.instEpoch = 0
	for _, i := range x.readers {
		i.Close()
	}
	x.readers = nil
	from := slices.Clone(x.peers)
	x.a.work.Go(func() { // whoever leads next, or reads here, need not wait for it
		ctx, cancel := context.WithTimeout(x.a.ctx, readyTime)
		defer cancel()
		if err := x.a.ready(ctx, p, from...); err != nil && ctx.Err() == nil {
			x.a.cfg.Log.Warn("agent: its new code is not ready here", "agent", x.genesis.Name, "err", err)
		}
	})
	return nil
}
