// Package protos lets etcd and go-libp2p-pubsub live in one process: both register a file called rpc.proto, of which nobody here
// asks the registry, and the registry ends the process at the second unless it is told otherwise. Whoever imports etcd imports this.
package protos

import "os"

// Packages that depend on nothing are initialised in the order of their paths: this one before those of go.etcd.io. Worker
// processes inherit it.
func init() {
	const conflict = "GOLANG_PROTOBUF_REGISTRATION_CONFLICT"
	if os.Getenv(conflict) == "" {
		os.Setenv(conflict, "ignore")
	}
}
