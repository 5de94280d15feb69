//go:build !linux

package model

// large is advice about memory, for Linux only.
func large(any) {}
