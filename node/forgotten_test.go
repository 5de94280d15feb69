package node

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
)

// A node that was forgotten says so wherever the fabric is needed, and goes on reading what it holds.
func TestForgotten(t *testing.T) {
	t.Parallel()
	ns := nodes(t, 2, nil)
	ctx := t.Context()
	dir, _ := corpus(t, 4, 10)
	elsewhere, _ := corpus(t, 3, 7)
	here := put(t, ns[1], dir, data.PutOptions{Replicas: 1}).Manifest.Root
	there := put(t, ns[0], elsewhere, data.PutOptions{Replicas: 1}).Manifest.Root
	hello, err := ns[1].Module(ctx, "example:hello")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ns[1].Pin(ctx, here); err != nil {
		t.Fatal(err)
	}
	if _, err := ns[0].Forget(ctx, string(ns[1].ID())); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "it hears that it was forgotten", func() bool { return ns[1].rooms.members.Standing() != nil })

	n, out := ns[1], filepath.Join(t.TempDir(), "out")
	wants(t, Finding{What: "membership", Level: Fault, Why: says(t, n.Doctor(ctx), "membership").Why, Try: "-"}, Fault, "forgotten", "join anew")
	for verb, err := range map[string]error{
		"put":    second(n.Put(ctx, dir, data.PutOptions{})),
		"get":    second(n.Get(ctx, there, "", out, data.GetOptions{})),
		"ls":     second(n.List(ctx, there, "")),
		"pin":    second(n.Pin(ctx, there)),
		"unpin":  n.Unpin(ctx, there),
		"leave":  n.Leave(ctx, nil),
		"invite": second(n.Invite(ctx, InviteOptions{})),
		"forget": second(n.Forget(ctx, string(ns[0].ID()))),
		"job":    second(n.StartJob(ctx, RunSpec{Name: "x", Module: hello, Inputs: []shoal.Input{{CID: here}}, Each: true})),
		"task":   fourth(n.RunTask(ctx, RunSpec{Name: "x", Module: hello})),
		"where":  third(n.Where(ctx, here)),
	} {
		if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "was forgotten by "+ns[0].ID().Short()) ||
			!strings.HasSuffix(err.Error(), "join anew with an invite") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if _, note, err := n.Peers(ctx, ""); err != nil || !strings.Contains(note, "was forgotten") {
		t.Errorf("peers: note %q, %v", note, err)
	}
	if _, err := n.Get(ctx, here, "", out, data.GetOptions{}); err != nil {
		t.Errorf("get of what is here: %v", err)
	}
	same(t, dir, out)
	if list, err := n.List(ctx, here, ""); err != nil || len(list) == 0 {
		t.Errorf("ls of what is here: %v, %v", list, err)
	}
	if err := n.Unpin(ctx, here); err != nil {
		t.Errorf("unpin of what is pinned here: %v", err)
	}
	if _, _, err := n.GC(ctx); err != nil {
		t.Errorf("gc: %v", err)
	}
}

func second[A any](_ A, err error) error                 { return err }
func third[A, B any](_ A, _ B, err error) error          { return err }
func fourth[A, B, C any](_ A, _ B, _ C, err error) error { return err }
