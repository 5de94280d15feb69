package hostcall

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

// call serves one host call whose result is an i32. The arguments are in s; of an i32 the lower half counts.
type call func(d *Desk, mem api.Memory, s []uint64) int32

// calls lists the host calls with an i32 as result.
func calls() map[string]call {
	return map[string]call{
		"input":     func(d *Desk, m api.Memory, s []uint64) int32 { return d.give(m, d.turn.Payload, s[0], s[1]) },
		"output":    (*Desk).output,
		"fail":      (*Desk).fail,
		"error":     func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, d.why, s[0], s[1]) },
		"rest":      (*Desk).remaining,
		"get":       (*Desk).get,
		"put":       (*Desk).set,
		"delete":    (*Desk).remove,
		"scan":      (*Desk).scan,
		"call":      (*Desk).call,
		"read":      (*Desk).read,
		"files":     (*Desk).files,
		"send":      (*Desk).send,
		"timer":     (*Desk).timer,
		"log":       (*Desk).note,
		"random":    (*Desk).random,
		"agent":     func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, keyText(d.turn.Agent), s[0], s[1]) },
		"caller":    func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, d.turn.Caller, s[0], s[1]) },
		"request":   func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, d.turn.Request, s[0], s[1]) },
		"trace":     func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, d.turn.Trace, s[0], s[1]) },
		"method":    func(d *Desk, m api.Memory, s []uint64) int32 { return d.text(m, d.turn.Method, s[0], s[1]) },
		"state_add": (*Desk).stateAdd, "state_set": (*Desk).stateSet, "state_insert": (*Desk).stateInsert,
		"state_remove": (*Desk).stateRemove, "state_clear": (*Desk).stateClear,
		"state_get": (*Desk).stateGet, "state_has": (*Desk).stateHas, "state_items": (*Desk).stateItems, "state_fields": (*Desk).stateFields,
		"reading": func(d *Desk, _ api.Memory, _ []uint64) int32 {
			if d.turn.Read {
				return 1
			}
			return 0
		},
	}
}

// numbers lists the host calls without arguments that return an i64.
func numbers() map[string]func(d *Desk) int64 {
	return map[string]func(d *Desk) int64{
		"now":   func(d *Desk) int64 { return d.turn.Now.UnixNano() },
		"epoch": func(d *Desk) int64 { return int64(d.turn.Epoch &^ (1 << 63)) },
		"gas":   func(d *Desk) int64 { return int64(d.Host.Left() &^ (1 << 63)) },
	}
}

// Instantiate offers the host calls to the guests of a runtime.
func Instantiate(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(module.Agent)
	for name, f := range calls() {
		params, results := types(module.AgentCall(name))
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, s []uint64) {
			d, _ := ctx.Value(Key{}).(*Desk)
			if d == nil || d.turn == nil {
				s[0] = result(errNoTurn)
				return
			}
			s[0] = result(f(d, mod.Memory(), s))
		}), params, results).Export(name)
	}
	for name, f := range numbers() {
		params, results := types(module.AgentCall(name))
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
			d, _ := ctx.Value(Key{}).(*Desk)
			if d == nil || d.turn == nil {
				n := int64(errNoTurn)
				s[0] = uint64(n)
				return
			}
			s[0] = uint64(f(d))
		}), params, results).Export(name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func result(n int32) uint64 { return uint64(uint32(n)) }

// types reads a type as module.AgentCall writes it.
func types(signature string) (params, results []api.ValueType) {
	to := &params
	for _, c := range signature {
		switch c {
		case ':':
			to = &results
		case 'i':
			*to = append(*to, api.ValueTypeI32)
		case 'I':
			*to = append(*to, api.ValueTypeI64)
		}
	}
	return params, results
}

func tooLong(what string, n, most uint32) string {
	return fmt.Sprintf("%s: %d bytes, and %d is the limit", what, n, most)
}

// keyText writes an agent's key as people and calls name it.
func keyText(k shoal.Key) string {
	if _, c, err := cid.CidFromBytes(append([]byte{1, cid.Raw}, k...)); err == nil {
		return c.String()
	}
	return hex.EncodeToString([]byte(k))
}
