package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/services"
)

// ServiceCreate asks for a service. Code is a CID or example:NAME; Exec the name of a native executor; one of both at
// least. Max 0: no limit; TargetMS 0: 20; IdleS 0: 60.
type ServiceCreate struct {
	Name       string  `json:"name"`
	Code       string  `json:"code,omitempty"`
	Exec       string  `json:"exec,omitempty"`
	Method     string  `json:"method"`
	Min        int     `json:"min,omitempty"`
	Max        int     `json:"max,omitempty"`
	TargetMS   float64 `json:"target_wait_ms,omitempty"`
	IdleS      float64 `json:"idle_s,omitempty"`
	Needs      string  `json:"needs,omitempty"` // what a machine must fulfil
	Idempotent bool    `json:"idempotent,omitempty"`
}

// ServiceCall calls a service by name.
type ServiceCall struct {
	Service    string `json:"service"`
	Payload    []byte `json:"payload,omitempty"`
	Idempotent bool   `json:"idempotent,omitempty"`
	// TimeoutSeconds bounds the wait for a reply; 0: 30.
	TimeoutSeconds float64 `json:"timeout_s,omitempty"`
}

// ServiceReply is what a service replied.
type ServiceReply struct {
	Reply []byte `json:"reply"`
}

func (s *Server) serviceCreate(r *http.Request) (any, error) {
	var req ServiceCreate
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return s.node.CreateService(r.Context(), node.ServiceSpec{
		Name: req.Name, Code: req.Code, Exec: strings.TrimPrefix(req.Exec, shoal.ExecPrefix), Method: req.Method, Min: req.Min, Max: req.Max,
		Target: time.Duration(req.TargetMS * float64(time.Millisecond)), Idle: time.Duration(req.IdleS * float64(time.Second)),
		Needs: req.Needs, Idempotent: req.Idempotent,
	})
}

func (s *Server) serviceCall(r *http.Request) (any, error) {
	var req ServiceCall
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	ctx := r.Context()
	if req.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutSeconds*float64(time.Second)))
		defer cancel()
	}
	reply, err := s.node.CallService(ctx, req.Service, req.Payload, services.CallOptions{Idempotent: req.Idempotent})
	return ServiceReply{Reply: reply}, err
}

func (s *Server) serviceList(r *http.Request) (any, error) {
	list, err := s.node.Services(r.Context(), shoal.PeerID(r.URL.Query().Get("owner")))
	if list == nil {
		list = []services.Definition{}
	}
	return list, err
}

func (s *Server) serviceShow(r *http.Request) (any, error) {
	return s.node.ShowService(r.Context(), r.URL.Query().Get("service"))
}

func (s *Server) serviceRemove(r *http.Request) (any, error) {
	err := s.node.RemoveService(r.Context(), r.URL.Query().Get("service"))
	return map[string]bool{"removed": err == nil}, err
}
