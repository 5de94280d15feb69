//go:build !linux

package rig

import "os/exec"

// CanPin says whether workers can be pinned here.
const CanPin = false

// startOn starts cmd where the system likes: it offers no pinning.
func startOn(cmd *exec.Cmd, _ int) error { return cmd.Start() }

// FirstCore is the lowest core that this process may use.
func FirstCore() int { return 0 }

// Niceness is not asked for here.
func Niceness() int { return 0 }
