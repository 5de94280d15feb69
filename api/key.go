package api

import (
	"net/http"

	"github.com/shoal-fabric/shoal"
)

// RootKey is the fabric's root key, in text.
type RootKey struct {
	Fabric string `json:"fabric"`
	Key    string `json:"key,omitempty"`
}

// local refuses calls over TCP, which nobody encrypts.
func local(r *http.Request) error {
	if tcp, _ := r.Context().Value(overTCP{}).(bool); tcp {
		return shoal.E(shoal.Refused, "root key", "it does not travel over TCP", "run this on the node's own machine, without --node")
	}
	return nil
}

func (s *Server) keyExport(r *http.Request) (any, error) {
	if err := local(r); err != nil {
		return nil, err
	}
	text, err := s.node.RootKey()
	return RootKey{Fabric: s.node.Status().Fabric, Key: text}, err
}

func (s *Server) keyImport(r *http.Request) (any, error) {
	if err := local(r); err != nil {
		return nil, err
	}
	var req RootKey
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	return RootKey{Fabric: s.node.Status().Fabric}, s.node.ImportRootKey(req.Key)
}
