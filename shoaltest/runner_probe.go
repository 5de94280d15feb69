package shoaltest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Probe is the probe of TestRunner as a Guest, for the double.
func Probe(ctx context.Context, r shoal.Run) (int, error) {
	arg := func(i int) string {
		if i < len(r.Args) {
			return r.Args[i]
		}
		return ""
	}
	stdout := r.Stdout
	if stdout == nil {
		stdout = io.Discard
	}
	say := func(s string) error {
		_, err := within(ctx, func() (int, error) { return io.WriteString(stdout, s) })
		return err
	}
	switch arg(1) {
	case "args":
		return 0, say(strings.Join(r.Args, "\n") + "\n")
	case "env":
		for _, e := range r.Env {
			if err := say(e + "\n"); err != nil {
				return 0, err
			}
		}
	case "exit":
		return strconv.Atoi(arg(2))
	case "err":
		_, err := io.WriteString(r.Stderr, arg(2))
		return 0, err
	case "cat":
		return probeCat(ctx, r, arg(2), say)
	case "tree":
		return 0, probeTree(r, strings.TrimPrefix(arg(2), "/data/"), say)
	case "write":
		to, ok := strings.CutPrefix(arg(2), "/out/")
		if !ok || !filepath.IsLocal(to) || r.Out == "" {
			return 0, say("write: refused\n")
		}
		if err := os.WriteFile(filepath.Join(r.Out, to), []byte(arg(3)), 0o644); err != nil {
			return 0, say("write: failed\n")
		}
		return 0, say("write: done\n")
	case "random":
		return 0, say(fmt.Sprintf("%x\n", sha256.Sum256(r.Seed))[:32] + "\n")
	case "spin":
		<-ctx.Done()
		return 0, ctx.Err()
	case "trap":
		return 0, errors.New("unreachable")
	case "eat":
		if n, err := strconv.ParseUint(arg(2), 10, 32); err != nil || r.Limits.Memory > 0 && n<<20 > r.Limits.Memory {
			return 0, shoal.E(shoal.Failed, "", fmt.Sprintf("memory limit of %d bytes reached", r.Limits.Memory), "")
		}
		return 0, say("eaten\n")
	default:
		return 2, nil
	}
	return 0, nil
}

// within calls f, and leaves it behind when ctx ends first.
func within(ctx context.Context, f func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := f()
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func probeCat(ctx context.Context, r shoal.Run, name string, say func(string) error) (int, error) {
	in := r.Stdin
	switch at, ok := strings.CutPrefix(name, "/data/"); {
	case ok && r.Data == nil:
		return 1, nil
	case ok:
		f, err := r.Data.Open(at)
		if err != nil {
			return 1, nil
		}
		defer f.Close()
		in = f
	case name != "":
		f, err := os.Open(filepath.Join(r.Out, strings.TrimPrefix(name, "/out/")))
		if err != nil {
			return 1, nil
		}
		defer f.Close()
		in = f
	case in == nil:
		return 0, nil
	}
	for {
		buf := make([]byte, 4096)
		n, err := within(ctx, func() (int, error) { return in.Read(buf) })
		if n > 0 {
			if err := say(string(buf[:n])); err != nil {
				return 0, err
			}
		}
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func probeTree(r shoal.Run, name string, say func(string) error) error {
	return fs.WalkDir(r.Data, name, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return say("/data/" + at + "/\n")
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		return say(fmt.Sprintf("%s %d 0\n", "/data/"+at, st.Size()))
	})
}
