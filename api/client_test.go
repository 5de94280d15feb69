package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestPathsNameTasksOfJobs: a name with a slash reaches its handler whole.
func TestPathsNameTasksOfJobs(t *testing.T) {
	var got string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tasks/{id}/logs", func(_ http.ResponseWriter, r *http.Request) { got = r.PathValue("id") })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	c := NewRemoteClient(srv.Listener.Addr().String(), "")
	for _, id := range []string{"tabc", "tabc/0", "tabc/12", "a b%2F?#"} {
		if err := c.Raw(t.Context(), Query(Path("tasks", id, "logs"), "follow", "1"), httptest.NewRecorder()); err != nil || got != id {
			t.Errorf("%q reached the handler as %q: %v", id, got, err)
		}
	}
}
