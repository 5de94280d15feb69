package scheduler

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/wire"
)

// glanced is how much of a module is looked at before all is read, and held against its name: of one that is beyond a
// cap, that is as a rule enough to see it.
const glanced = 64 << 10

// readModule reads the one file of a tree.
func readModule(tree Tree) ([]byte, error) {
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, err
	}
	if len(entries) != 1 || entries[0].IsDir() {
		return nil, shoal.E(shoal.Invalid, "read it", "the CID names a folder, not a module", "give the CID of a .wasm file")
	}
	f, err := tree.Open(entries[0].Name())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > wire.MaxModule {
		return nil, shoal.E(shoal.Invalid, "read it", fmt.Sprintf("%d bytes, more than the limit of %d", info.Size(), wire.MaxModule),
			"strip it, or put the data it carries into a dataset")
	}
	wasm := make([]byte, info.Size())
	first := wasm[:min(len(wasm), glanced)]
	if _, err := io.ReadFull(f, first); err != nil {
		return nil, err
	}
	if err := module.Glance(first); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(f, wasm[len(first):])
	return wasm, err
}
