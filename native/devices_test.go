package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// cards is a machine with so many.
func cards(n int) func(context.Context) ([]reserve.Device, error) {
	return func(context.Context) (list []reserve.Device, err error) {
		for i := range n {
			list = append(list, reserve.Device{ID: fmt.Sprint("nvidia:", i), Vendor: "nvidia", Index: i, Memory: 16 << 30})
		}
		return list, nil
	}
}

// TestDevicesAreNeverGivenTwice: commands that each make a folder in the name of what they were given.
func TestDevicesAreNeverGivenTwice(t *testing.T) {
	locks := t.TempDir()
	one := shell("one", `mkdir $LOCKS/$CUDA_VISIBLE_DEVICES && sleep 0.0$1 && rmdir $LOCKS/$CUDA_VISIBLE_DEVICES`)
	one.Devices, one.Env = reserve.Want{Whole: 1}, map[string]string{"LOCKS": locks}
	two := shell("two", `a=${CUDA_VISIBLE_DEVICES%,*} b=${CUDA_VISIBLE_DEVICES#*,}; test $a != $b && mkdir $LOCKS/$a $LOCKS/$b && sleep 0.0$1 && rmdir $LOCKS/$a $LOCKS/$b`)
	two.Devices, two.Env = reserve.Want{Whole: 2, Vendor: "nvidia"}, one.Env
	n := open(t, Config{Look: cards(3)}, one, two)
	var done, busy atomic.Int64
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			name := []string{"one", "one", "two"}[i%3]
			for {
				ran, err := n.Run(t.Context(), shoal.Run{Module: shoal.ExecCID(name), Args: []string{"", fmt.Sprint(i % 10)}})
				switch {
				case shoal.KindOf(err) == shoal.Overloaded:
					busy.Add(1)
					time.Sleep(10 * time.Millisecond)
					continue
				case err != nil || ran.Exit != 0:
					t.Errorf("%+v %v", ran, err)
				case len(ran.Devices) != 1+i%3/2:
					t.Errorf("%s had %v", name, ran.Devices)
				}
				done.Add(1)
				return
			}
		})
	}
	wg.Wait()
	if done.Load() != 24 || busy.Load() == 0 { // three wait, others are told to come back
		t.Errorf("%d done, %d found them taken", done.Load(), busy.Load())
	}
	for _, s := range n.Devices() {
		if s.Whole || s.Tasks > 0 || s.Shared > 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestSharesOfADevice(t *testing.T) {
	x := shell("share", `echo "$SHOAL_DEVICES $SHOAL_DEVICE_MEMORY $CUDA_VISIBLE_DEVICES"; : >out/begun; while ! test -e out/end; do sleep 0.02; done`)
	x.Devices = reserve.Want{Memory: 7 << 30}
	n := open(t, Config{Look: cards(1), Patience: 100 * time.Millisecond}, x)
	var wg sync.WaitGroup
	outs := []string{t.TempDir(), t.TempDir()}
	for _, out := range outs {
		wg.Go(func() {
			var said bytes.Buffer
			if _, err := n.Run(t.Context(), shoal.Run{Module: shoal.ExecCID("share"), Out: out, Stdout: &said}); err != nil || said.String() != "nvidia:0 7516192768 0\n" {
				t.Errorf("%q %v", said.String(), err)
			}
		})
	}
	for _, out := range outs {
		for _, err := os.Stat(filepath.Join(out, "begun")); err != nil; _, err = os.Stat(filepath.Join(out, "begun")) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if wait, err := n.Room(shoal.ExecCID("share"), shoal.Limits{}); err != nil || !wait {
		t.Error(wait, err)
	}
	if _, _, _, err := run(t, n, "share", nil); shoal.KindOf(err) != shoal.Overloaded || !strings.Contains(err.Error(), "were taken for 100ms") {
		t.Error(err)
	}
	if s := n.Devices(); s[0].Shared != 14<<30 || s[0].Tasks != 2 || s[0].Whole {
		t.Errorf("%+v", s)
	}
	for _, out := range outs {
		_ = os.WriteFile(filepath.Join(out, "end"), nil, 0o644)
	}
	wg.Wait()
	if _, err := n.Room(shoal.ExecCID("share"), shoal.Limits{}); err != nil {
		t.Error(err)
	}
}

func TestADeviceThatGoes(t *testing.T) {
	var left atomic.Int64
	left.Store(2)
	broken := errors.New("driver mismatch")
	look := func(ctx context.Context) ([]reserve.Device, error) {
		if left.Load() < 0 {
			return nil, broken
		}
		return cards(int(left.Load()))(ctx)
	}
	x := shell("train", `echo $$ >out/self; while :; do sleep 0.05; done`)
	x.Devices = reserve.Want{Whole: 2}
	y := shell("falls", "echo CUDA error >&2; exit 1")
	y.Devices = reserve.Want{Whole: 1}
	var changes atomic.Int64
	n := open(t, Config{Look: look, LookEvery: 20 * time.Millisecond, Changed: func() { changes.Add(1) }}, x, y)
	done := make(chan error, 1)
	out := t.TempDir()
	go func() {
		_, err := n.Run(t.Context(), shoal.Run{Module: shoal.ExecCID("train"), Out: out})
		done <- err
	}()
	pids(t, out, "self")
	left.Store(1)
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "exec:train: device nvidia:1: it is gone") {
		t.Error(err)
	}
	if s := n.Devices(); len(s) != 1 || s[0].Tasks != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := n.Room(shoal.ExecCID("train"), shoal.Limits{}); shoal.KindOf(err) != shoal.Unavailable || len(n.Names()) != 1 {
		t.Error(err)
	}
	// A program that fails on a device that is fine has failed itself; also where nobody can say.
	for _, k := range []int64{1, -1} {
		left.Store(k)
		if ran, _, _, err := run(t, n, "falls", nil); err != nil || ran.Exit != 1 {
			t.Errorf("%+v %v", ran, err)
		}
	}
	// On one that went meanwhile it has not.
	left.Store(0)
	if _, _, _, err := run(t, n, "falls", nil); shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "device nvidia:0: it is gone") {
		t.Error(err)
	}
	if _, err := n.Room(shoal.ExecCID("falls"), shoal.Limits{}); shoal.KindOf(err) != shoal.Unavailable || len(n.Names()) != 0 {
		t.Error(err)
	}
	if changes.Load() != 3 { // there, one gone, both gone
		t.Errorf("%d changes were told", changes.Load())
	}
	n.SetDevices([]reserve.Device{{ID: "nvidia:0", Vendor: "nvidia", Fault: "uncorrectable memory errors"}})
	if s := n.Devices(); len(s) != 1 || s[0].Fault == "" {
		t.Errorf("%+v", s)
	}
	if _, err := n.Room(shoal.ExecCID("falls"), shoal.Limits{}); shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "1 with a fault") {
		t.Error(err)
	}
}
