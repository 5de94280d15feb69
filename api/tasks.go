package api

import (
	"net/http"

	"github.com/shoal-fabric/shoal"
)

func (s *Server) tasks(r *http.Request) (any, error) {
	return s.node.Tasks(r.Context(), shoal.TaskID(r.URL.Query().Get("of")))
}

func (s *Server) task(r *http.Request) (any, error) {
	return s.node.Task(r.Context(), shoal.TaskID(r.PathValue("id")))
}

// taskLogs writes the task's output as it was, both streams in their order.
func (s *Server) taskLogs(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out := &flushing{w: w, c: http.NewResponseController(w)}
	err := s.node.TaskLogs(r.Context(), shoal.TaskID(r.PathValue("id")), r.URL.Query().Get("follow") != "", out)
	switch {
	case err == nil:
	case !out.begun:
		writeError(w, err)
	default:
		panic(http.ErrAbortHandler) // the client sees that the log is cut short
	}
}

type flushing struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	begun bool
}

func (f *flushing) Write(p []byte) (int, error) {
	f.begun = true
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

func (s *Server) taskWait(r *http.Request, _ func(Event)) (any, error) {
	return s.node.TaskWait(r.Context(), shoal.TaskID(r.PathValue("id")))
}

func (s *Server) taskCancel(r *http.Request) (any, error) {
	return s.node.TaskCancel(r.Context(), shoal.TaskID(r.PathValue("id")))
}
