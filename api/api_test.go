package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/wire"
)

// serve starts a node of its own and serves it, on TCP too when tcp says where.
func serve(t *testing.T, dir, tcp string) *Server {
	t.Helper()
	n, err := node.Open(t.Context(), node.Config{Dir: dir, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	s, err := Serve(n, ServerConfig{Dir: dir, TCP: tcp})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "api")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func alive(t *testing.T, c *Client) error {
	t.Helper()
	var st node.Status
	err := c.Call(t.Context(), http.MethodGet, "status", nil, &st)
	if err == nil && st.Members != 1 {
		t.Fatalf("status: %+v", st)
	}
	return err
}

// TestSocketIsFoundFromAnywhere: the client's environment differs from the node's.
func TestSocketIsFoundFromAnywhere(t *testing.T) {
	for name, dir := range map[string]string{
		"short path": filepath.Join(shortDir(t), "n"),
		// Too long for a Unix socket: it lies in the runtime folder.
		"long path": filepath.Join(shortDir(t), strings.Repeat("long/", 30), "n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_RUNTIME_DIR", "")
			t.Setenv("TMPDIR", shortDir(t))
			s := serve(t, dir, "")
			for what, path := range map[string]string{"socket": s.sock, "pointer": pointerIn(dir)} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
					t.Errorf("the %s has mode %v, others can use it", what, info.Mode().Perm())
				}
			}
			t.Setenv("TMPDIR", shortDir(t))
			t.Setenv("XDG_RUNTIME_DIR", shortDir(t))
			if err := alive(t, NewClient(dir)); err != nil {
				t.Errorf("with another TMPDIR: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(pointerIn(dir)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a clean stop left %s behind: %v", pointerIn(dir), err)
			}
			if err := alive(t, NewClient(dir)); shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "not running: start it") {
				t.Errorf("after the stop: %v", err)
			}
		})
	}
}

// TestStalePointer: a node that was killed left its socket and pointer behind.
func TestStalePointer(t *testing.T) {
	dir := shortDir(t)
	l, path, err := listenUnix(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	err = alive(t, NewClient(dir))
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "killed") || !strings.Contains(err.Error(), "shoal up") {
		t.Errorf("a stale socket: %v", err)
	}
	s := serve(t, dir, "")
	if s.sock != path {
		t.Errorf("the next node serves on %s, not on %s", s.sock, path)
	}
	if err := alive(t, NewClient(dir)); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestPointerOfAnother: a pointer that this user may not read is told apart from a node that is not there.
func TestPointerOfAnother(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("this user may read every file")
	}
	dir := shortDir(t)
	if err := os.WriteFile(pointerIn(dir), []byte("api.sock\n"), 0); err != nil {
		t.Fatal(err)
	}
	if err := alive(t, NewClient(dir)); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "another user") {
		t.Errorf("%v", err)
	}
}

// TestTCPOnlyWhenAsked wants no TCP port by default.
func TestTCPOnlyWhenAsked(t *testing.T) {
	s := serve(t, shortDir(t), "")
	if s.Addr() != "" || s.Token() != "" || s.tcp != nil {
		t.Errorf("it serves on %q", s.Addr())
	}
}

// reply sends one request over TCP and returns the status and the error in the body.
func reply(t *testing.T, method, url, auth string, body io.Reader) (int, Error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Error Error }
	if res.StatusCode >= 300 {
		if ct := res.Header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s %s: an error as %s", method, url, ct)
		}
		if err := json.Unmarshal(b, &e); err != nil || e.Error.Kind == "" || e.Error.Message == "" {
			t.Errorf("%s %s: %v: %q is no error in JSON", method, url, err, b)
		}
	}
	return res.StatusCode, e.Error
}

func TestTCP(t *testing.T) {
	s := serve(t, shortDir(t), "127.0.0.1:0")
	base := "http://" + s.Addr() + "/v1/"
	right := "Bearer " + s.Token()

	t.Run("token", func(t *testing.T) {
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer wrong", s.Token(), "Bearer " + s.Token() + "x", "Basic " + s.Token()} {
			code, e := reply(t, http.MethodGet, base+"status", auth, nil)
			if code != http.StatusUnauthorized || e.Kind != "refused" || e.Try == "" {
				t.Errorf("Authorization %q: %d %+v", auth, code, e)
			}
		}
		if code, _ := reply(t, http.MethodGet, base+"status", right, nil); code != http.StatusOK {
			t.Errorf("with the token: %d", code)
		}
		if err := alive(t, NewRemoteClient(s.Addr(), s.Token())); err != nil {
			t.Error(err)
		}
		if err := alive(t, NewRemoteClient(s.Addr(), "")); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "SHOAL_TOKEN") {
			t.Errorf("without the token: %v", err)
		}
	})
	t.Run("no such call", func(t *testing.T) {
		for _, c := range [][2]string{{http.MethodGet, "nope"}, {http.MethodPost, "status"}, {http.MethodGet, "tasks/a/b/c"}} {
			if code, e := reply(t, c[0], base+c[1], right, nil); code != http.StatusNotFound || e.Kind != "not found" || e.Try == "" {
				t.Errorf("%v: %d %+v", c, code, e)
			}
		}
		if code, _ := reply(t, http.MethodGet, base+"nope", "", nil); code != http.StatusUnauthorized {
			t.Errorf("without a token it says what calls there are: %d", code)
		}
	})
	t.Run("root key", func(t *testing.T) {
		for _, call := range []string{"key/export", "key/import"} {
			if code, e := reply(t, http.MethodPost, base+call, right, strings.NewReader("{}")); code != http.StatusForbidden || !strings.Contains(e.Message, "TCP") {
				t.Errorf("%s over TCP: %d %+v", call, code, e)
			}
		}
		c := NewClient(s.dir)
		var k RootKey
		if err := c.Call(t.Context(), http.MethodPost, "key/export", nil, &k); err != nil || k.Key == "" || k.Fabric != s.node.Status().Fabric {
			t.Errorf("%+v, %v", k, err)
		}
		if err := c.Call(t.Context(), http.MethodPost, "key/import", k, nil); err != nil {
			t.Errorf("the same key again: %v", err)
		}
	})
	t.Run("body", func(t *testing.T) {
		large := func() io.Reader {
			return io.MultiReader(strings.NewReader(`{"path":"`), io.LimitReader(letters{}, 64<<20), strings.NewReader(`"}`))
		}
		for _, c := range []struct {
			call string
			body io.Reader
			want string
		}{
			{"invite", strings.NewReader(`{"ttl_s": "x"}`), "malformed body"},
			{"invite", strings.NewReader(`{"nonsense": 1}`), "nonsense"},
			{"invite", strings.NewReader(``), "malformed body"},
			{"invite", large(), "larger than 4096 KiB"},
			{"modules", io.LimitReader(letters{}, wire.MaxModule+1), "larger than 64 MiB"},
			{"modules", strings.NewReader("no module"), "WebAssembly"},
		} {
			code, e := reply(t, http.MethodPost, base+c.call, right, c.body)
			if code != http.StatusBadRequest || !strings.Contains(e.Message, c.want) {
				t.Errorf("%s: %d %+v, want %q", c.call, code, e, c.want)
			}
		}
		// Verbs that stream answer 200 and end with an error event.
		c := NewRemoteClient(s.Addr(), s.Token())
		for call, body := range map[string]io.Reader{"put": large(), "run": large()} {
			err := c.Stream(t.Context(), http.MethodPost, call, body, nil, nil)
			if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "larger than 4096 KiB") {
				t.Errorf("%s: %v", call, err)
			}
		}
	})
	t.Run("port in use", func(t *testing.T) {
		dir := shortDir(t)
		_, err := Serve(s.node, ServerConfig{Dir: dir, TCP: s.Addr()})
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), "--api") {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(pointerIn(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a failed start left its pointer: %v", err)
		}
	})
}

// letters is an endless body.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// TestLineReader: each line may be as long as the bound, the whole as long as it likes.
func TestLineReader(t *testing.T) {
	line, err := json.Marshal(Input{Data: make([]byte, 2<<20)})
	if err != nil {
		t.Fatal(err)
	}
	body := &lineReader{r: bytes.NewReader(bytes.Repeat(line, 5))}
	dec := json.NewDecoder(body)
	for i := range 5 {
		body.next()
		var in Input
		if err := dec.Decode(&in); err != nil || len(in.Data) != 2<<20 {
			t.Fatalf("line %d: %d bytes, %v", i, len(in.Data), err)
		}
	}
	body = &lineReader{r: io.MultiReader(strings.NewReader(`"`), letters{})}
	body.next()
	var large *http.MaxBytesError
	if err := json.NewDecoder(body).Decode(new(string)); !errors.As(err, &large) {
		t.Errorf("an endless line: %v", err)
	}
}

// TestClientSaysWhatToTry: the ends of a wait, and a port with nobody behind it.
func TestClientSaysWhatToTry(t *testing.T) {
	dir := shortDir(t)
	l, _, err := listenUnix(dir) // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for cause, want := range map[error]shoal.Kind{context.DeadlineExceeded: shoal.Timeout, context.Canceled: shoal.Canceled} {
		var ctx context.Context
		var cancel context.CancelFunc
		if cause == context.Canceled {
			ctx, cancel = context.WithCancel(t.Context())
			cancel()
		} else {
			ctx, cancel = context.WithTimeout(t.Context(), 1)
		}
		err := NewClient(dir).Call(ctx, http.MethodGet, "status", nil, nil)
		cancel()
		var e *shoal.Error
		if !errors.As(err, &e) || e.Kind != want || e.What == "" || e.Why == "" || e.Try == "" {
			t.Errorf("%v: %+v", cause, err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
	err = alive(t, NewRemoteClient(free.Addr().String(), "x"))
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "--api") {
		t.Errorf("nobody there: %v", err)
	}
}
