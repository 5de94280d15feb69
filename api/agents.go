package api

import (
	"net/http"

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
}

// AgentCall calls an agent, by key or name.
type AgentCall struct {
	Agent   string `json:"agent"`
	Method  string `json:"method"`
	Payload []byte `json:"payload,omitempty"`
	Read    bool   `json:"read,omitempty"`
	Request string `json:"request_id,omitempty"`
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
	return s.node.CreateAgent(r.Context(), req.Code, agents.CreateOptions{Name: req.Name, Replicas: req.Replicas, Strict: req.Strict})
}

func (s *Server) agentCall(r *http.Request) (any, error) {
	var req AgentCall
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	reply, err := s.node.CallAgent(r.Context(), req.Agent, shoal.CallRequest{
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
