package api

import (
	"context"
	"net/http"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
)

func (s *Server) status(*http.Request) (any, error) { return s.node.Status(), nil }

func (s *Server) peers(r *http.Request) (any, error) {
	list, note, err := s.node.Peers(r.Context(), r.URL.Query().Get("where"))
	if list == nil {
		list = []node.PeerInfo{}
	}
	return noted{list, note}, err
}

func (s *Server) peer(r *http.Request) (any, error) {
	return s.node.Peer(r.Context(), r.PathValue("peer"))
}

func (s *Server) rates(r *http.Request) (any, error) { return s.node.Rates(r.Context()), nil }

func (s *Server) doctor(r *http.Request) (any, error) { return s.node.Doctor(r.Context()), nil }

func (s *Server) invite(r *http.Request) (any, error) {
	var req InviteRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	text, err := s.node.Invite(r.Context(), node.InviteOptions{
		TTL: time.Duration(req.TTLSeconds * float64(time.Second)), Uses: req.Uses,
	})
	return map[string]string{"invite": text}, err
}

func (s *Server) approve(r *http.Request) (any, error) {
	p, err := s.node.Approve(r.Context(), r.PathValue("code"))
	return map[string]shoal.PeerID{"peer_id": p}, err
}

func (s *Server) forget(r *http.Request) (any, error) {
	p, err := s.node.Forget(r.Context(), r.PathValue("peer"))
	return map[string]shoal.PeerID{"peer_id": p}, err
}

// leave goes on when the client goes away: half a drain helps nobody.
func (s *Server) leave(r *http.Request, send func(Event)) (any, error) {
	err := s.node.Leave(context.WithoutCancel(r.Context()), reports(send))
	return map[string]bool{"left": err == nil}, err
}
