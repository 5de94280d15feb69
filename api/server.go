package api

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
)

// ServerConfig says where to serve.
type ServerConfig struct {
	Dir string // the node's directory, in which clients find where the socket is
	TCP string // host:port to serve on as well, with a token; "" for none
	Log *slog.Logger
}

// Server serves one node's API.
type Server struct {
	node  *node.Node
	log   *slog.Logger
	http  *http.Server
	tcp   net.Listener
	dir   string
	sock  string
	token string
	done  sync.WaitGroup
}

// Serve starts to serve n, whose directory's lock the caller holds.
func Serve(n *node.Node, cfg ServerConfig) (*Server, error) {
	s := &Server{node: n, log: cfg.Log, dir: cfg.Dir}
	unix, path, err := listenUnix(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s.sock = path
	if cfg.TCP != "" {
		if s.tcp, err = net.Listen("tcp", cfg.TCP); err != nil {
			_ = unix.Close()
			_ = os.Remove(pointerIn(cfg.Dir))
			return nil, &shoal.Error{
				Kind: shoal.Invalid, What: "API address " + cfg.TCP, Why: err.Error(),
				Try: "name a free host:port with --api", Err: err,
			}
		}
		s.token = newToken()
	}
	mux := s.routes()
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, overTCP{}, c.LocalAddr().Network() == "tcp")
		},
	}
	for _, l := range []net.Listener{unix, s.tcp} {
		if l == nil {
			continue
		}
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) && s.log != nil {
				s.log.Error("api: server ended", "addr", l.Addr(), "err", err)
			}
		}()
	}
	return s, nil
}

// Addr returns the TCP address served on, "" for none.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Token returns what clients over TCP must show.
func (s *Server) Token() string { return s.token }

// Close stops serving: calls under way get a moment to end.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.done.Wait()
	_ = os.Remove(pointerIn(s.dir))
	_ = os.Remove(s.sock)
	return err
}

func newToken() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails, by its contract
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

type overTCP struct{}

// guard wants the token of calls over TCP, and refuses pages of other origins: a browser on this
// machine can reach the port too.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tcp, _ := r.Context().Value(overTCP{}).(bool); tcp {
			got, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !bearer || subtle.ConstantTimeCompare([]byte(got), []byte(s.token)) != 1 {
				w.Header().Set("WWW-Authenticate", "Bearer")
				writeErrorAs(w, http.StatusUnauthorized, shoal.E(shoal.Refused, "API", "the token is missing or wrong",
					"set SHOAL_TOKEN to what 'shoal up --api' printed"))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// answer is a handler that returns its result.
type answer func(r *http.Request) (any, error)

func (f answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, err := f(r)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if n, ok := v.(noted); ok {
		if v = n.value; n.note != "" {
			w.Header().Set(noteHeader, n.note)
		}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// noteHeader carries what a person should know of an answer: that it is not complete, for instance.
const noteHeader = "Shoal-Note"

// noted is an answer with a note, "" for none.
type noted struct {
	value any
	note  string
}

// streaming is a handler that sends events while it works.
type streaming func(r *http.Request, send func(Event)) (any, error)

func (f streaming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	// A run reads its input while it writes its output, and may still be reading when it ends: the
	// connection cannot be used again.
	_ = c.EnableFullDuplex()
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex
	over := false // w is not ours any more
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}()
	enc := json.NewEncoder(w)
	write := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if !over && enc.Encode(e) == nil {
			_ = c.Flush()
		}
	}
	v, err := f(r, write)
	if err != nil {
		write(Event{Type: "error", Error: ErrorOf(err)})
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		write(Event{Type: "error", Error: ErrorOf(err)})
		return
	}
	write(Event{Type: "result", Result: b})
}

// nothing answers what no route takes: in JSON, as all errors are.
func nothing(r *http.Request) (any, error) {
	return nil, shoal.E(shoal.NotFound, r.Method+" "+r.URL.Path, "there is no such call", "see docs/api.md for those there are")
}
