// Package agent measures agents on real nodes, each a process: durable turns against etcd and JetStream, reads
// against a plain stream, agents that sleep, and what callers notice of a leader's death.
package agent
