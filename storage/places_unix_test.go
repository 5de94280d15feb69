//go:build unix

package storage

import (
	"os"
	"syscall"
	"testing"
)

// A pipe that took a file's place is not waited for.
func TestPipeInPlace(t *testing.T) {
	changing(t, func(t *testing.T, file string) {
		ok(t, os.Remove(file))
		ok(t, syscall.Mkfifo(file, 0o600))
	}, true)
}
