package node

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/data"
)

// putOnOne puts a file of random bytes, which one node alone keeps, and returns that node.
func putOnOne(t *testing.T, ns []*Node, n int) (root cid.Cid, content []byte, at *Node) {
	t.Helper()
	content = make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	res := put(t, ns[0], file, data.PutOptions{Replicas: 1, PartitionBytes: int64(n)})
	if len(res.Holders) != 1 {
		t.Fatalf("held by %+v", res.Holders)
	}
	for _, nd := range ns {
		if nd.ID() == res.Holders[0].Peer {
			at = nd
		}
	}
	if _, _, err := ns[0].GC(t.Context()); err != nil { // what went through it
		t.Fatal(err)
	}
	return res.Manifest.Root, content, at
}

// TestAgentMovesToData: an agent that reads a dataset on another node is found there after a while, with no call of a
// move; its history says why, with both costs; it has as many keepers as before, and what it reads does not travel any
// more. With gravity off it stays.
func TestAgentMovesToData(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprint("off ", off), func(t *testing.T) {
			t.Parallel()
			ns := nodes(t, 4, func(_ int, c *Config) { c.NoGravity, c.patient = off, true })
			const size = 24 << 20
			root, content, at := putOnOne(t, ns, size)
			maker := ns[0]
			if maker == at {
				maker = ns[1]
			}
			c, err := maker.CreateAgent(t.Context(), "example:reader", cid.Undef, agents.CreateOptions{Name: "reader", Replicas: 3})
			if err != nil {
				t.Fatal(err)
			}
			sum := func(i int, read bool) {
				t.Helper()
				const n = 1 << 20
				from := i * n % (size - n)
				want := fmt.Sprintf("%08x %d", crc32.ChecksumIEEE(content[from:from+n]), n)
				payload := fmt.Sprintf("%s\n\n%d\n%d", root, from, n)
				if got := callAgent(t, maker, c.Key, shoal.CallRequest{Method: "sum", Payload: []byte(payload), Read: read}); got != want {
					t.Fatalf("sum: %s, want %s", got, want)
				}
			}
			total := func() (sums Traffic) {
				for _, n := range ns {
					sums = sums.Plus(n.Traffic())
				}
				return sums
			}
			begin := total()
			sum(0, false)
			was, err := maker.ShowAgent(t.Context(), c.Key)
			if err != nil || was.Leader == at.ID() {
				t.Fatalf("%+v, %v", was, err)
			}
			for i := range 3 { // before it can have moved; the first is of what was read just now
				sum(i, i%2 == 0)
			}
			far := total().Minus(begin)
			if far.Data < 3<<20 {
				t.Errorf("%d bytes moved while it is far", far.Data)
			}
			begun := time.Now()
			deadline := begun.Add(60 * time.Second)
			if off {
				deadline = begun.Add(8 * time.Second)
			}
			i := 0
			var now *agents.Show
			for time.Now().Before(deadline) {
				for range 10 {
					i++
					sum(i, i%2 == 0)
				}
				if now, err = maker.ShowAgent(t.Context(), c.Key); err != nil {
					t.Fatal(err)
				}
				if now.Leader == at.ID() {
					break
				}
			}
			list, err := maker.AgentHistory(t.Context(), c.Key)
			if err != nil {
				t.Fatal(err)
			}
			var drawn []turn.Event
			for _, e := range list {
				if e.What == turn.Drawn {
					drawn = append(drawn, e)
				}
				if e.What == turn.Moved {
					t.Errorf("somebody moved it: %+v", e)
				}
			}
			if off {
				if now.Leader != was.Leader || now.Epoch != was.Epoch || len(drawn) > 0 {
					t.Errorf("it moved: %+v", list)
				}
				return
			}
			if now.Leader != at.ID() || len(now.Keepers) != 3 {
				t.Fatalf("it lives on %s, kept by %v; the data is on %s", now.Leader, now.Keepers, at.ID())
			}
			// A machine slow enough for a keeper to be taken for silent makes it move on, and it is drawn again: each time to the data.
			if len(drawn) == 0 {
				t.Fatalf("history: %+v", list)
			}
			for _, e := range drawn {
				if e.To != at.ID() || e.Pull.Here < e.Pull.Price || e.Pull.Here <= e.Pull.There {
					t.Errorf("history: %+v", list)
				}
			}
			t.Logf("after %v, %d reads: %s", time.Since(begun), i, drawn[0].Pull.Why)
			before := total()
			for i := range 20 {
				sum(i, i%2 == 0)
			}
			near := total().Minus(before)
			t.Logf("3 MiB read moved %d bytes of data, then 20 moved %d", far.Data, near.Data)
			if near.Data > far.Data/100 {
				t.Errorf("%d bytes moved while it is near", near.Data)
			}
		})
	}
}
