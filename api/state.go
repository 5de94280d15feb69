package api

import (
	"fmt"
	"net/http"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/state"
	"github.com/shoal-fabric/shoal/state/merge"
)

// StateOp is one change of mergeable state. Kind "": as the object is, or what the verb makes.
type StateOp struct {
	state.Change
	Kind string `json:"kind,omitempty"`
}

// StateChange makes changes, in their order. Copies 0: on two disks, if there is another member.
type StateChange struct {
	Changes []StateOp `json:"changes"`
	Copies  int       `json:"replicas,omitempty"`
}

// StateObject is an object, or a field of a map. Which of the last four it has depends on its kind.
type StateObject struct {
	Name   string   `json:"name"`
	Field  string   `json:"field,omitempty"`
	Kind   string   `json:"kind"`
	Value  *int64   `json:"value,omitempty"`  // of a counter or tally
	Text   []byte   `json:"text,omitempty"`   // of a register
	Items  []string `json:"items,omitempty"`  // of a set
	Rivals int      `json:"rivals,omitempty"` // of a register: other values, put at the same time
}

func stateObject(o state.Object) StateObject {
	out := StateObject{Name: o.Name, Field: o.Field, Kind: o.Kind.String(), Text: o.Text, Items: o.Items, Rivals: o.Rivals}
	if o.Kind == merge.Counter || o.Kind == merge.Tally {
		out.Value = &o.Number
	}
	return out
}

func stateObjects(list []state.Object) []StateObject {
	out := make([]StateObject, len(list))
	for i, o := range list {
		out[i] = stateObject(o)
	}
	return out
}

func (s *Server) stateChange(r *http.Request) (any, error) {
	var req StateChange
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	list := make([]state.Change, len(req.Changes))
	for i, c := range req.Changes {
		list[i] = c.Change
		if list[i].Kind = merge.ParseKind(c.Kind); c.Kind != "" && list[i].Kind == 0 {
			return nil, shoal.E(shoal.Invalid, "state "+c.Name, fmt.Sprintf("there is no kind '%.20s'", c.Kind), "there are counter, tally, register, growset and set")
		}
	}
	if err := s.node.ChangeState(r.Context(), req.Copies, list...); err != nil {
		return nil, err
	}
	out := []StateObject{}
	seen := map[string]bool{}
	for _, c := range list {
		if objects, err := s.node.State(c.Name); err == nil && !seen[c.Name] {
			out = append(out, stateObjects(objects)...)
		}
		seen[c.Name] = true
	}
	return out, nil
}

func (s *Server) stateList(r *http.Request) (any, error) {
	return stateObjects(s.node.States(r.URL.Query().Get("prefix"))), nil
}

func (s *Server) stateGet(r *http.Request) (any, error) {
	list, err := s.node.State(r.URL.Query().Get("name"))
	return stateObjects(list), err
}

func (s *Server) stateWatch(r *http.Request, _ func(Event)) (any, error) {
	q := r.URL.Query()
	o, err := s.node.WatchState(r.Context(), q.Get("name"), q.Get("field"), q.Get("until"))
	return stateObject(o), err
}
