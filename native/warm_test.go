//go:build unix

package native

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/services/batch"
)

// serveFrames is a warm process: it answers each call with its payload and its devices, in capitals. It does as calls
// say: "hang", "exit", "print", "fail"; its first argument is a folder for its process's number and that of a child.
func serveFrames(dir string) int {
	child := exec.Command("sleep", "1000")
	_ = child.Start()
	_ = os.WriteFile(filepath.Join(dir, "child"), fmt.Appendln(nil, child.Process.Pid), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "self"), fmt.Appendln(nil, os.Getpid()), 0o600)
	in := bufio.NewReader(os.Stdin)
	say := func(kind byte, body []byte) {
		b := binary.LittleEndian.AppendUint32(nil, uint32(1+len(body)))
		_, _ = os.Stdout.Write(append(append(b, kind), body...))
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return 0
		}
		body := make([]byte, binary.LittleEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(in, body); err != nil {
			return 0
		}
		if head[4] == frameHealth {
			say(frameHealth, []byte{8, 0, 0, 0})
			continue
		}
		count := binary.LittleEndian.Uint32(body[4:])
		out := binary.LittleEndian.AppendUint32(nil, count)
		for b := body[8:]; len(b) > 0; {
			n := binary.LittleEndian.Uint32(b)
			call := string(b[4 : 4+n])
			b = b[4+n:]
			kind, text := uint32(0), strings.ToUpper(call)+" "+os.Getenv("SHOAL_DEVICES")+" "+os.Getenv("SHOAL_METHOD")
			switch call {
			case "hang":
				time.Sleep(time.Hour)
			case "exit":
				return 3
			case "print":
				fmt.Println("hello")
			case "fail":
				kind, text = 1, "as told"
			}
			out = binary.LittleEndian.AppendUint32(out, kind)
			out = binary.LittleEndian.AppendUint32(out, uint32(len(text)))
			out = append(out, text...)
		}
		say(frameCalls, out)
	}
}

// warm opens the executor "model" of a node, with a device.
func warm(t *testing.T) (*Native, *Warm, string) {
	t.Helper()
	self, _ := os.Executable()
	dir := t.TempDir()
	n := open(t, Config{}, Executor{Name: "model", Command: []string{self, "frames", dir}, Devices: reserve.Want{Whole: 1}, Time: time.Minute})
	n.SetDevices([]reserve.Device{{ID: "one", Vendor: "nvidia", Memory: 1 << 30}})
	w, err := n.Open(t.Context(), "model", nil, []string{"SHOAL_METHOD=embed"})
	if err != nil {
		t.Fatal(err)
	}
	return n, w, dir
}

func ask(t *testing.T, w *Warm, calls ...string) ([]batch.Answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	payloads := make([][]byte, len(calls))
	for i, c := range calls {
		payloads[i] = []byte(c)
	}
	b, err := w.Calls(ctx, batch.Pack(payloads))
	if err != nil {
		return nil, err
	}
	return batch.Unpack(len(calls), b)
}

func occupied(n *Native) bool {
	return slices.ContainsFunc(n.Devices(), func(s reserve.State) bool { return s.Whole })
}

func TestWarm(t *testing.T) {
	n, w, dir := warm(t)
	if w.Most() != 8 {
		t.Errorf("it takes %d together", w.Most())
	}
	for range 3 {
		got, err := ask(t, w, "abc", "fail", "")
		if err != nil || string(got[0].Reply) != "ABC one embed" || !got[1].Failed || got[1].Why != "as told" || string(got[2].Reply) != " one embed" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if !occupied(n) {
		t.Error("its device is not its own")
	}
	if wait, err := n.Room(shoal.ExecCID("model"), shoal.Limits{}); !wait || err != nil {
		t.Errorf("another would have room: %v, %v", wait, err)
	}
	list := pids(t, dir, "self", "child")
	w.Close()
	w.Close()
	w.Wait()
	if !w.Broken() || occupied(n) {
		t.Errorf("closed, it is broken: %v, and has its device: %v", w.Broken(), occupied(n))
	}
	for _, pid := range list {
		dead(t, pid)
	}
	if _, err := ask(t, w, "x"); err == nil {
		t.Error("it answers after its end")
	}
}

func TestWarmThatFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ call, want string }{
		{"exit", "its process ended by itself, with code 3"},
		{"print", "its output is no frame: \"hello\""},
	} {
		t.Run(c.call, func(t *testing.T) {
			n, w, _ := warm(t)
			if _, err := ask(t, w, c.call); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			w.Wait()
			if !w.Broken() || occupied(n) {
				t.Error("it is not broken, or keeps its device")
			}
		})
	}
	t.Run("hang", func(t *testing.T) {
		n, w, dir := warm(t)
		list := pids(t, dir, "self", "child")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begun := time.Now()
		_, err := w.Calls(ctx, batch.Pack([][]byte{[]byte("hang")}))
		if shoal.KindOf(err) != shoal.Timeout || time.Since(begun) < lateGrace {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		w.Wait()
		for _, pid := range list {
			dead(t, pid)
		}
		if occupied(n) {
			t.Error("it keeps its device")
		}
	})
	t.Run("never well", func(t *testing.T) {
		n := open(t, Config{}, shell("sleepy", "sleep 1000"))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := n.Open(ctx, "sleepy", nil, nil); shoal.KindOf(err) != shoal.Timeout {
			t.Errorf("%v", err)
		}
	})
	t.Run("device lost", func(t *testing.T) {
		n, w, _ := warm(t)
		n.SetDevices(nil)
		w.Wait()
		if !w.Broken() {
			t.Error("it goes on without its device")
		}
	})
}
