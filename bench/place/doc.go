// Package place measures a placement decision: where a task should run, of a thousand peers.
package place
