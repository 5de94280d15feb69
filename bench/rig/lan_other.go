//go:build !linux

package rig

import (
	"errors"
	"time"
)

// LAN is a network of shaped links; only Linux has what it takes.
type LAN struct{}

// NewLAN makes one into which nothing can be plugged.
func NewLAN(float64, time.Duration) *LAN { return &LAN{} }

// Plug fails.
func (*LAN) Plug(func(string) error) error {
	return errors.New("a network of its own for a worker: that takes Linux")
}

// Carried is 0.
func (*LAN) Carried() int64 { return 0 }

// Dropped is 0.
func (*LAN) Dropped() int64 { return 0 }

// Close does nothing.
func (*LAN) Close() {}
