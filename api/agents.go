package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/node"
)

// AgentCreate asks for an agent. Code is a CID or example:NAME; Replicas 0: 3.
type AgentCreate struct {
	Name     string `json:"name"`
	Code     string `json:"code"`
	Replicas int    `json:"replicas,omitempty"`
	Strict   bool   `json:"strict,omitempty"`
	Needs    string `json:"needs,omitempty"` // what keepers must fulfil
	Near     string `json:"near,omitempty"`  // CID of data that the keepers rather hold
}

// AgentMove has an agent live on a peer, or near data: one of both is set.
type AgentMove struct {
	Agent string `json:"agent"`
	To    string `json:"to,omitempty"` // peer ID, or its last eight characters
	Near  string `json:"near,omitempty"`
}

// AgentMoved says where it lives now.
type AgentMoved struct {
	Peer shoal.PeerID `json:"peer_id"`
}

// AgentUpgrade gives an agent other code: a CID or example:NAME.
type AgentUpgrade struct {
	Agent string `json:"agent"`
	Code  string `json:"code"`
}

// AgentRecover begins a new generation of an agent.
type AgentRecover struct {
	Agent      string `json:"agent"`
	AcceptLoss bool   `json:"accept_loss"`
}

// AgentCall calls an agent, by key or name.
type AgentCall struct {
	Agent   string `json:"agent"`
	Method  string `json:"method"`
	Payload []byte `json:"payload,omitempty"`
	Read    bool   `json:"read,omitempty"`
	Request string `json:"request_id,omitempty"`
	// TimeoutSeconds bounds the wait for a reply; 0: 30.
	TimeoutSeconds float64 `json:"timeout_s,omitempty"`
}

// AgentReply is what an agent replied.
type AgentReply struct {
	Reply []byte `json:"reply"`
}

func (s *Server) agentCreate(r *http.Request) (any, error) {
	var req AgentCreate
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	near, err := optionalCID(req.Near)
	if err != nil {
		return nil, err
	}
	return s.node.CreateAgent(r.Context(), req.Code, near, agents.CreateOptions{Name: req.Name, Replicas: req.Replicas, Strict: req.Strict, Needs: req.Needs})
}

func (s *Server) agentCall(r *http.Request) (any, error) {
	var req AgentCall
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	ctx := r.Context()
	if req.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutSeconds*float64(time.Second)))
		defer cancel()
	}
	reply, err := s.node.CallAgent(ctx, req.Agent, shoal.CallRequest{
		Method: req.Method, Payload: req.Payload, Read: req.Read, Request: req.Request,
	})
	return AgentReply{Reply: reply}, err
}

func (s *Server) agentShow(r *http.Request) (any, error) {
	return s.node.ShowAgent(r.Context(), r.URL.Query().Get("agent"))
}

func (s *Server) agentList(r *http.Request) (any, error) {
	list, err := s.node.Agents(r.Context(), shoal.PeerID(r.URL.Query().Get("owner")))
	if list == nil {
		list = []node.AgentName{}
	}
	return list, err
}

func (s *Server) agentRemove(r *http.Request) (any, error) {
	err := s.node.RemoveAgent(r.Context(), r.URL.Query().Get("agent"))
	return map[string]bool{"removed": err == nil}, err
}

func (s *Server) ownerNew(r *http.Request) (any, error) {
	id, err := s.node.NewOwner(r.Context())
	return node.Owner{ID: id, Here: true}, err
}

func (s *Server) ownerList(*http.Request) (any, error) { return s.node.Owners() }

func optionalCID(s string) (c cid.Cid, err error) {
	if s == "" {
		return cid.Undef, nil
	}
	return shoal.ParseCID(s)
}

func (s *Server) agentMove(r *http.Request) (any, error) {
	var req AgentMove
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if (req.To == "") == (req.Near == "") {
		return nil, shoal.E(shoal.Invalid, "move agent "+req.Agent, "it takes a peer, or data to be near, and not both", "")
	}
	near, err := optionalCID(req.Near)
	if err != nil {
		return nil, err
	}
	var to shoal.PeerID
	if req.To != "" {
		if to, err = s.node.Member(req.To); err != nil {
			return nil, shoal.Wrap(shoal.NotFound, "move agent "+req.Agent, err)
		}
	}
	to, err = s.node.MoveAgent(r.Context(), req.Agent, to, near)
	return AgentMoved{Peer: to}, err
}

func (s *Server) agentUpgrade(r *http.Request) (any, error) {
	var req AgentUpgrade
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.node.UpgradeAgent(r.Context(), req.Agent, req.Code)
}

func (s *Server) agentRecover(r *http.Request) (any, error) {
	var req AgentRecover
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.node.RecoverAgent(r.Context(), req.Agent, req.AcceptLoss)
}

func (s *Server) agentHistory(r *http.Request) (any, error) {
	return s.node.AgentHistory(r.Context(), r.URL.Query().Get("agent"))
}

// agentLogs writes what an agent logged, one JSON object per line.
func (s *Server) agentLogs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &flushing{w: w, c: http.NewResponseController(w)}
	enc := json.NewEncoder(out)
	q := r.URL.Query()
	err := s.node.AgentLogs(r.Context(), q.Get("agent"), q.Get("follow") != "", func(l agents.Line) error { return enc.Encode(l) })
	switch {
	case err == nil:
	case !out.begun:
		writeError(w, err)
	default:
		panic(http.ErrAbortHandler) // the client sees that the log is cut short
	}
}
