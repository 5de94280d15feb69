//go:build unix

package devices

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fake puts a script in the place of nvidia-smi.
func fake(t *testing.T, script string) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestSMI(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	recorded := filepath.Join(here, "testdata/smi")
	for _, c := range []struct {
		name, script string
		cards        int
		err          string
	}{
		{"two", "cat " + recorded + "/two.txt", 2, ""},
		{"none", "cat " + recorded + "/none.txt; exit 6", 0, ""},
		{"lost", "cat " + recorded + "/lost.txt; exit 15", 1, "GPU is lost"},
		{"complains on the error stream", "cat " + recorded + "/mismatch.txt >&2; exit 18", 0, "version mismatch"},
		{"no driver", `echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running."; exit 9`, 0, fs.ErrNotExist.Error()},
		{"an old driver", `case "$1" in *retired*) echo 'Field "retired_pages.pending" is not a valid field to query.'; exit 2;; esac
			echo "GPU-1, 00000000:01:00.0, 340.108, 2048, 1024, 50, GeForce GTX 750"`, 1, ""},
		{"fails and says nothing", "exit 9", 0, "exit status 9"},
		{"nonsense", "echo '<html>'; echo GPU-1,2,3; printf '\\0\\377\\n'", 0, "<html>"},
		{"a million lines", "yes 'GPU-1, 00000000:01:00.0, 550, 1, 1, 1, 0, No, A'", 0, "without end"},
		{"a line without end", "cat /dev/zero", 0, "without end"},
		{"hangs", "exec sleep 60", 0, "did not answer"},
		{"hangs, and its child holds the pipe", "sleep 60 & wait", 0, "did not answer"},
		{"does not want to die", "trap '' TERM INT HUP; while :; do sleep 1; done", 0, "did not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake(t, c.script)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if c.cards > 0 || !strings.Contains(c.err, "answer") { // others must not fail for a busy machine
				ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
			}
			begin := time.Now()
			cards, err := smiCards(ctx)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			if len(cards) != c.cards || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%d cards, %v; want %d, %q", len(cards), err, c.cards, c.err)
			}
		})
	}
}

func TestNoSMI(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if cards, err := smiCards(t.Context()); !errors.Is(err, fs.ErrNotExist) || len(cards) > 0 {
		t.Errorf("%v, %v", cards, err)
	}
}

// Nodes of one process that ask at the same time wait for each other, and take nobody for hanging.
func TestAskersTakeTurns(t *testing.T) {
	one := make(asked, 1)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			_, err := one.ask(t.Context(), "it", func(context.Context) ([]card, error) {
				time.Sleep(10 * time.Millisecond)
				return nil, nil
			})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A driver that keeps whoever asks it, even from being killed, is left behind, and not asked again before it has answered.
func TestHangingDriver(t *testing.T) {
	one, release := make(asked, 1), make(chan struct{})
	hang := func(context.Context) ([]card, error) { <-release; return nil, nil }
	before := runtime.NumGoroutine()
	for i, want := range []string{"does not answer", "hangs since", "hangs since"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := one.ask(ctx, "it", hang)
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", i, err, want)
		}
	}
	if n := runtime.NumGoroutine(); n > before+2 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	close(release)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := one.ask(t.Context(), "it", hang)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
