//go:build unix

package node

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// serveFrames is a warm process of a service, as docs/native.md has it: it says what classify says, and that it was it.
func serveFrames() int {
	in := bufio.NewReader(os.Stdin)
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0
		}
		body := make([]byte, binary.LittleEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(in, body); err != nil {
			return 0
		}
		var out []byte
		if head[4] == 'h' {
			out = []byte{64, 0, 0, 0}
		} else {
			out = append(out, body[4:8]...)
			for b := body[8:]; len(b) > 0; {
				n := binary.LittleEndian.Uint32(b)
				text := fmt.Sprintf("dirty %d", strings.Count(string(b[4:4+n]), "heck"))
				b = b[4+n:]
				out = binary.LittleEndian.AppendUint32(out, 0)
				out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
				out = append(out, text...)
			}
		}
		_, _ = os.Stdout.Write(append(append(binary.LittleEndian.AppendUint32(nil, uint32(1+len(out))), head[4]), out...))
	}
}

// TestServiceOfProcesses keeps a process warm on the one node with a device, and gives the device back.
func TestServiceOfProcesses(t *testing.T) {
	t.Parallel()
	self, _ := os.Executable()
	ns := nodes(t, 3, func(i int, c *Config) {
		c.Warden, c.gpus = warden, noCard
		if i == 1 {
			c.gpus = card
			c.Slots = 4
			c.Executors = []native.Executor{{Name: "model", Command: []string{self, "frames"}, Devices: reserve.Want{Whole: 1}}}
		}
	})
	announced(t, ns[0], "model", 1)
	if _, err := ns[0].CreateService(t.Context(), ServiceSpec{
		Name: "model", Exec: "model", Method: "classify", Idle: 2 * time.Second, Target: 2 * time.Millisecond,
	}); err != nil {
		t.Fatal(err)
	}
	taken := func() bool {
		return slices.ContainsFunc(ns[1].rooms.native.Devices(), func(s reserve.State) bool { return s.Whole })
	}
	if taken() {
		t.Error("the device is taken before the first call")
	}
	if out, err := callService(t, ns[2], "model", "heck"); err != nil || out != "dirty 1" {
		t.Fatalf("%q, %v", out, err)
	}
	if !taken() {
		t.Error("the process is warm, and does not have its device")
	}
	var calling sync.WaitGroup
	for _, n := range ns {
		for range 8 {
			calling.Go(func() {
				for range 50 {
					if out, err := callService(t, n, "model", "heck, heck"); err != nil || out != "dirty 2" {
						t.Errorf("%q, %v", out, err)
					}
				}
			})
		}
	}
	calling.Wait()
	h := rowOf(t, ns[0], "model", ns[1].ID())
	if h.Calls != 1201 || h.By["exec"] != 1201 || h.Instances != 1 || h.Batch <= 1 {
		t.Errorf("%+v", h)
	}
	eventually(t, 20*time.Second, "the device is free", func() bool { return !taken() })

	// The same function as a module too: what is faster serves more.
	if _, err := ns[0].CreateService(t.Context(), ServiceSpec{
		Name: "both", Code: "example:classify", Exec: "model", Method: "classify", Target: time.Millisecond, Needs: "size(executors) > 0",
	}); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("oh heck, what a day; ", 20_000)
	want := "dirty 20000"
	// The module is compiled meanwhile, which takes a busy machine long.
	for begun := time.Now(); ; {
		for _, n := range ns {
			for range 8 {
				calling.Go(func() {
					for range 30 {
						if out, err := callService(t, n, "both", text); err != nil || out != want {
							t.Errorf("%q, %v", out, err)
						}
					}
				})
			}
		}
		calling.Wait()
		h = rowOf(t, ns[0], "both", ns[1].ID())
		t.Logf("%+v", h)
		if h.By["wasm"] > 0 && h.By["exec"] > 0 {
			break
		}
		if t.Failed() || time.Since(begun) > time.Minute {
			t.Fatalf("both were to be tried: %v", h.By)
		}
	}
}
