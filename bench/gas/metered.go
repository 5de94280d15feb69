package gas

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox"
)

// metered runs guests in the sandbox, as a node does.
type metered struct {
	box  *sandbox.Sandbox
	cids map[string]cid.Cid
}

func newMetered(ctx context.Context, wasm map[string][]byte) (runner, func(), error) {
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		return nil, nil, err
	}
	m := &metered{box: box, cids: map[string]cid.Cid{}}
	for name, b := range wasm {
		if name == "echo" {
			continue // no command: see newEcho
		}
		sum, err := multihash.Sum(b, multihash.SHA2_256, -1)
		if err != nil {
			return nil, nil, err
		}
		m.cids[name] = cid.NewCidV1(cid.Raw, sum)
		if _, err := box.Compile(ctx, m.cids[name], b); err != nil {
			return nil, nil, fmt.Errorf("module %s: %w", name, err)
		}
	}
	return m, func() { box.Close() }, nil
}

func (m *metered) run(ctx context.Context, module string, args []string, in io.Reader, out io.Writer) error {
	ran, err := m.box.Run(ctx, shoal.Run{Module: m.cids[module], Args: args, Stdin: in, Stdout: out, Stderr: io.Discard})
	if err == nil && ran.Exit != 0 {
		err = fmt.Errorf("%v: exit %d", args, ran.Exit)
	}
	return err
}
