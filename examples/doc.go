// Package examples holds small programs for the fabric: their sources, and the WebAssembly modules
// built from them, which are part of the binary.
//
// The commands are plain WASI without any SDK: they read /data and standard input, and write
// /out, standard output and standard error. The agents use the SDKs; those in Go are a module of their
// own, agents/, with unit tests that need no fabric. 'make examples' rebuilds all with Debian's clang and
// the Go that build.sh names, byte for byte the same. linecount is an example in Go, for modules of one's own:
//
//	GOOS=wasip1 GOARCH=wasm go build -o linecount.wasm ./examples/linecount
package examples
