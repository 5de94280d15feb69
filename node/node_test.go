package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
)

// nodes starts n complete nodes on loopback, in one fabric, and waits until each knows all others
// (or, without a table, is connected).
func nodes(t testing.TB, n int, change func(i int, c *Config)) []*Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var out []*Node
	var invite string
	for i := range n {
		c := Config{
			Dir: filepath.Join(t.TempDir(), fmt.Sprint(i)), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, NoMDNS: true, Slots: 1,
			Join: invite, Log: testLog(t),
		}
		if change != nil {
			change(i, &c)
		}
		nd, err := Open(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nd.Close() })
		out = append(out, nd)
		if i == 0 {
			if invite, err = nd.Invite(ctx, InviteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, nd := range out {
		eventually(t, 30*time.Second, "all members are known and alive", func() bool {
			if nd.cfg.NoTable {
				return nd.connected() > 0
			}
			st := nd.Status()
			return st.Members == n && st.Connected == n-1 && alive(nd) == n-1
		})
	}
	return out
}

// alive counts the other members that nd takes for alive: one that was called before it was
// ready is under suspicion for a moment, and is given no data meanwhile.
func alive(nd *Node) (n int) {
	for _, m := range nd.rooms.members.Table() {
		if m.State == shoal.Alive {
			n++
		}
	}
	return n
}

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// testLog shows warnings with -v.
func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// corpus writes files of text and returns the folder and what the word "alpha" counts.
func corpus(t *testing.T, files, lines int) (dir string, alphas int) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "corpus")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		var b bytes.Buffer
		for j := range lines {
			fmt.Fprintf(&b, "alpha w%d line %d of file %d\n", (i*7+j)%97, j, i)
			alphas++
		}
		name := fmt.Sprintf("f%03d.txt", i)
		if i%2 == 1 {
			name = "sub/" + name
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, alphas
}

func put(t *testing.T, n *Node, dir string, o data.PutOptions) data.PutResult {
	t.Helper()
	res, err := n.Put(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// count runs the word count of a dataset and returns the result's CID and how often alpha occurs.
func count(t *testing.T, n *Node, root cid.Cid) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	mapper, err := n.Module(ctx, "example:wordcount")
	if err != nil {
		t.Fatal(err)
	}
	reducer, err := n.Module(ctx, "example:wordsum")
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.StartJob(ctx, RunSpec{Module: mapper, Reduce: &reducer, Each: true, Inputs: []shoal.Input{{CID: root}}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := shoal.ParseCID(res.Output)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.ReadFile(ctx, c, "counts.tsv")
	if err != nil {
		t.Fatal(err)
	}
	alphas := 0
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "\t"); k == "alpha" {
			fmt.Sscan(v, &alphas)
		}
	}
	return res.Output, alphas
}

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 3, nil)
	dir, alphas := corpus(t, 40, 200)
	res := put(t, ns[0], dir, data.PutOptions{Replicas: 2})
	if len(res.Holders) != 3 {
		t.Errorf("%d holders, want all three nodes: %+v %q", len(res.Holders), res.Holders, res.Warnings)
	}
	out, got := count(t, ns[1], res.Manifest.Root)
	if got != alphas {
		t.Errorf("counted %d, want %d", got, alphas)
	}
	ns[2].Kill()
	if again, got := count(t, ns[0], res.Manifest.Root); again != out || got != alphas {
		t.Errorf("after a loss: %s with %d, want %s with %d", again, got, out, alphas)
	}
	dst := filepath.Join(t.TempDir(), "back")
	if _, err := ns[1].Get(t.Context(), res.Manifest.Root, "", dst, data.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, dir, dst)
}

// same compares two folders.
func same(t *testing.T, a, b string) {
	t.Helper()
	err := filepath.WalkDir(a, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(a, p)
		x, err1 := os.ReadFile(p)
		y, err2 := os.ReadFile(filepath.Join(b, rel))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !bytes.Equal(x, y) {
			return fmt.Errorf("%s differs", rel)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStreamsAreLive(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 2, nil)
	cat, err := ns[0].Module(t.Context(), "example:cat")
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	out, sink := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, o, _, err := ns[0].RunTask(t.Context(), RunSpec{Module: cat, On: ns[1].ID(), Stdin: in, Stdout: sink})
		if err == nil && o.Peer != ns[1].ID() {
			err = fmt.Errorf("ran on %s", o.Peer)
		}
		_ = sink.Close()
		done <- err
	}()
	buf := make([]byte, 5)
	for _, word := range []string{"hello", "again"} {
		if _, err := io.WriteString(feed, word); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, buf); err != nil || string(buf) != word {
			t.Fatalf("got %q, %v, want %q before more is sent", buf, err, word)
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// In a fabric of twelve of which one is dead, a lookup answers within a second.
// TestOutputMadeElsewhere keeps a task's output here at once, when nobody has heard yet that its runner has
// it.
func TestOutputMadeElsewhere(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 2, nil)
	dir, _ := corpus(t, 2, 20)
	set := put(t, ns[0], dir, data.PutOptions{Replicas: 2})
	mod, err := ns[0].Module(t.Context(), "example:wordcount")
	if err != nil {
		t.Fatal(err)
	}
	_, out, _, err := ns[0].RunTask(t.Context(), RunSpec{Module: mod, On: ns[1].ID(), Inputs: []shoal.Input{{CID: set.Manifest.Root}}})
	if err != nil || out.Output == "" || out.Peer != ns[1].ID() {
		t.Fatalf("%+v %v", out, err)
	}
}

func TestLookupWithOneOfTwelveDead(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 12, nil)
	dir, _ := corpus(t, 12, 50)
	res := put(t, ns[0], dir, data.PutOptions{Replicas: 3})
	holder := res.Holders[0].Peer
	if holder == ns[11].ID() {
		holder = res.Holders[1].Peer
	}
	for _, n := range ns {
		if n.ID() == holder && n != ns[0] {
			n.Kill()
		}
	}
	begun := time.Now()
	list, _, err := ns[11].Where(t.Context(), res.Manifest.Root)
	if took := time.Since(begun); err != nil || len(list) < 2 || took > time.Second {
		t.Errorf("%d holders after %v, %v", len(list), took, err)
	}
}
