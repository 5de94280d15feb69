package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// failsScript runs a command that must fail as the design says: a given exit code, and one line
// "what: why: what to try" on the error stream that matches a pattern.
func failsScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: fails CODE PATTERN COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	cmd := exec.Command(lookIn(ts, args[2]), args[3:]...)
	cmd.Env, cmd.Dir = environ(ts), ts.MkAbs(".")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Start()
	end := make(chan struct{})
	go func() { _ = cmd.Wait(); close(end) }()
	select {
	case <-end:
	case <-time.After(120 * time.Second):
		_ = cmd.Process.Kill()
		<-end
		ts.Fatalf("%v did not end within 120 s", args[2:])
	}
	line, more, _ := strings.Cut(errs.String(), "\n")
	switch code := cmd.ProcessState.ExitCode(); {
	case code != want:
		ts.Fatalf("%v: exit code %d, want %d: %s", args[2:], code, want, errs.String())
	case out.Len() > 0:
		ts.Fatalf("%v: it failed, and wrote output: %s", args[2:], out.String())
	case more != "":
		ts.Fatalf("%v: more than one line: %s", args[2:], errs.String())
	case strings.Count(line, ": ") < 2 || strings.HasSuffix(strings.TrimSpace(line), ":"):
		ts.Fatalf("%v: not 'what: why: what to try': %s", args[2:], line)
	case !re.MatchString(line):
		ts.Fatalf("%v: %q does not match %q", args[2:], line, args[1])
	}
}

// moduleScript writes the smallest module with one import, if any, and one exported function.
func moduleScript(ts *testscript.TestScript, _ bool, args []string) {
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	section := func(id byte, body ...[]byte) []byte {
		b := bytes.Join(body, nil)
		return append([]byte{id, byte(len(b))}, b...)
	}
	wasm := []byte("\x00asm\x01\x00\x00\x00")
	wasm = append(wasm, section(1, []byte{1, 0x60, 0, 0})...) // one type: no parameters, no results
	index := byte(0)
	if mod, fn, ok := strings.Cut(args[1], "."); ok {
		wasm = append(wasm, section(2, []byte{1}, name(mod), name(fn), []byte{0, 0})...)
		index = 1
	}
	wasm = append(wasm, section(3, []byte{1, 0})...)
	wasm = append(wasm, section(7, []byte{1}, name(args[2]), []byte{0, index})...)
	body := []byte{0, 0x0b} // no locals, end
	if len(args) > 3 && args[3] == "spin" {
		body = []byte{0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b} // loop, branch to its begin
	}
	wasm = append(wasm, section(10, []byte{1, byte(len(body))}, body)...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), wasm, 0o644))
}

// sparseScript writes a file of zeros that takes no space.
func sparseScript(ts *testscript.TestScript, _ bool, args []string) {
	gib, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(f.Truncate(gib << 30))
	ts.Check(f.Close())
}

// blocksOf counts the blocks in a node's directory.
func blocksOf(ts *testscript.TestScript, node string) int {
	list, err := filepath.Glob(filepath.Join(ts.Getenv("WORK"), node, "blocks", "*", "*"))
	ts.Check(err)
	return len(list)
}

func countScript(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0]+"_blocks", strconv.Itoa(blocksOf(ts, args[0])))
}

// grownScript waits until a node keeps more blocks than at the last count: a put has begun.
func grownScript(ts *testscript.TestScript, _ bool, args []string) {
	before, err := strconv.Atoi(ts.Getenv(args[0] + "_blocks"))
	ts.Check(err)
	more, err := strconv.Atoi(args[1])
	ts.Check(err)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n := blocksOf(ts, args[0])
		if n >= before+more {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("after 60 s %s keeps %d blocks, %d before", args[0], n, before)
		}
	}
}
