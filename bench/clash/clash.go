// Package clash lets the libraries of etcd and of libp2p's gossip be in one program. Both register a file "rpc.proto" with
// protobuf, which ends the program unless it is told not to mind; their messages have different names. Whatever
// imports etcd imports this, too: it needs nothing but os and is early by its path, so Go runs it before.
package clash

import "os"

func init() {
	if err := os.Setenv("GOLANG_PROTOBUF_REGISTRATION_CONFLICT", "ignore"); err != nil {
		panic(err)
	}
}
