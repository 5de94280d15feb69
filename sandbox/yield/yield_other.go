//go:build !unix

package yield

import "runtime"

// Point is where one goroutine gives way. Here it has no means of its own.
type Point struct{}

// Yield returns when what waited for a processor has had its turn.
func (p *Point) Yield() { runtime.Gosched() }

// Close does nothing.
func (p *Point) Close() {}
