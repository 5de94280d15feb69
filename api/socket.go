package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// A node's socket lies in its directory, as api.sock, where its path is short enough for a Unix socket
// and the file system can hold one; else under the user's runtime folder. Clients do not guess which:
// the file that pointerIn names says so. A node that is killed leaves that file behind; whoever dials
// what it names then finds nobody.

// maxPath is the longest path that every system takes for a Unix socket (macOS: 104 bytes with the
// end mark).
const maxPath = 100

// pointerIn returns the file, in a node's directory, that holds the path of its socket.
func pointerIn(dir string) string { return filepath.Join(dir, "api") }

// listenUnix listens on a socket for the node of directory dir and notes its path there. What a node
// that was killed left behind is replaced: the caller holds the directory's lock. Only this user
// reaches the socket.
func listenUnix(dir string) (net.Listener, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", shoal.Wrap(shoal.Internal, "API socket", err)
	}
	var l net.Listener
	var faults []error
	for _, path := range socketPaths(dir) {
		if l, err = listenAt(path); err == nil {
			if err = point(dir, path); err == nil {
				return l, path, nil
			}
			_ = l.Close()
		}
		faults = append(faults, err)
	}
	return nil, "", &shoal.Error{
		Kind: shoal.Internal, What: "API socket", Why: strings.ReplaceAll(errors.Join(faults...).Error(), "\n", "; "),
		Try: "name a node directory on a local disk, or set XDG_RUNTIME_DIR to a folder of yours", Err: errors.Join(faults...),
	}
}

// socketPaths lists where the socket of the node in dir may lie, best first.
func socketPaths(dir string) []string {
	sum := sha256.Sum256([]byte(dir))
	list := []string{filepath.Join(runtimeDir(), hex.EncodeToString(sum[:8])+".sock")}
	if in := filepath.Join(dir, "api.sock"); len(in) <= maxPath {
		list = append([]string{in}, list...)
	}
	return list
}

func listenAt(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			_ = l.Close()
		}
	}
	return l, err
}

// point notes, whole or not at all, that the socket of the node in dir is at path. A socket in dir
// itself is named as such, so that it is found when dir is mounted elsewhere, as in a container.
func point(dir, path string) error {
	if filepath.Dir(path) == dir {
		path = filepath.Base(path)
	}
	next := pointerIn(dir) + ".new"
	if err := os.WriteFile(next, []byte(path+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, pointerIn(dir))
}

// dialUnix connects to the node of directory dir.
func dialUnix(ctx context.Context, dir string) (net.Conn, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(pointerIn(dir))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, absent(dir, "not running", err)
	case errors.Is(err, os.ErrPermission):
		return nil, &shoal.Error{
			Kind: shoal.Refused, What: "node in " + dir, Why: "it belongs to another user",
			Try: "run this as that user, or name another with --dir", Err: err,
		}
	case err != nil:
		return nil, shoal.Wrap(shoal.Internal, "node in "+dir, err)
	}
	path := strings.TrimSpace(string(b))
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil && ctx.Err() == nil {
		err = absent(dir, "not running (it was killed when it last ran)", err)
	}
	return c, err
}

func absent(dir, why string, err error) error {
	return &shoal.Error{
		Kind: shoal.Unavailable, What: "node in " + dir, Why: why,
		Try: "start it with 'shoal up', or name another with --dir", Err: err,
	}
}

// runtimeDir is the user's folder for sockets.
func runtimeDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" && runtime.GOOS != "windows" {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			return filepath.Join(d, "shoal")
		}
	}
	name := "shoal"
	if uid := os.Getuid(); uid >= 0 {
		name += "-" + strconv.Itoa(uid)
	}
	return filepath.Join(os.TempDir(), name)
}
