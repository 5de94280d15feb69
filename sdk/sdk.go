// Package sdk carries the SDKs for agents within the binary, so that 'shoal new' can write a folder that builds
// by itself. The Go SDK is a module of its own, which another module cannot embed: go.zip is its files, and a
// test holds them against the sources ('make examples' packs it again).
package sdk

import (
	"archive/zip"
	"bytes"
	"embed"
	"io/fs"
)

//go:embed go.zip
var packed []byte

//go:embed c/*.h
var headers embed.FS

// Go is the files of the Go SDK, tests apart.
func Go() (fs.FS, error) { return zip.NewReader(bytes.NewReader(packed), int64(len(packed))) }

// C is the headers of the C SDK.
func C() (fs.FS, error) { return fs.Sub(headers, "c") }
