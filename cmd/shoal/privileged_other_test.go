//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

func mayMount() bool { return false }
func mayNetns() bool { return false }

func tmpfsScript(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("small disks are made on Linux only: skip the script elsewhere")
}
