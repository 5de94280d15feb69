package agenttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

// pack writes numbers and texts as docs/abi.md has them in batches.
func pack(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case int:
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		case string:
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

func TestBatch(t *testing.T) {
	upper := func(t *agent.Turn) ([]byte, error) {
		if len(t.Payload()) == 0 {
			return nil, errors.New("empty")
		}
		return bytes.ToUpper(t.Payload()), nil
	}
	f := New()
	f.Add("s", Methods{
		"handle_batch": agent.Batch(upper),
		"together_batch": agent.Together(func(_ *agent.Turn, list [][]byte) ([][]byte, error) {
			out := [][]byte{}
			for _, p := range list {
				if string(p) != "lost" {
					out = append(out, bytes.ToUpper(p))
				}
			}
			return out, nil
		}),
	})
	got, err := f.Call("s", "handle_batch", pack(3, "a", "", "bc"))
	if err != nil || !bytes.Equal(got, pack(3, 0, "A", 1, "empty", 0, "BC")) {
		t.Errorf("%q, %v", got, err)
	}
	got, err = f.Call("s", "together_batch", pack(2, "a", "bc"))
	if err != nil || !bytes.Equal(got, pack(2, 0, "A", 0, "BC")) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.Call("s", "together_batch", pack(2, "a", "lost")); err == nil || !strings.Contains(err.Error(), "1 replies to 2 calls") {
		t.Errorf("%v", err)
	}
	for _, bad := range [][]byte{nil, {1}, pack(2, "a"), pack(1, "a", "b"), pack(1, 9), append(pack(1, "a"), 0)} {
		if _, err := f.Call("s", "handle_batch", bad); err == nil || !strings.Contains(err.Error(), "no batch") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
