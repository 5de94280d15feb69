package agent

import (
	"encoding/binary"
	"fmt"
)

// Batch makes a method of a service one that takes all calls that waited, one after the other. Each has an answer of its own,
// so that one that fails fails alone:
//
//	//go:wasmexport handle_batch
//	func handleBatch() int32 { return agent.Run(agent.Batch(Classify)) }
func Batch(f Func) Func {
	return func(t *Turn) ([]byte, error) {
		calls, err := split(t.Payload())
		if err != nil {
			return nil, err
		}
		out := binary.LittleEndian.AppendUint32(nil, uint32(len(calls)))
		for _, c := range calls {
			reply, err := Invoke(part{t.host, c}, f)
			out = answer(out, reply, err)
		}
		return out, nil
	}
}

// Together is Batch for code that is faster when it has all payloads at once. f returns as many replies; its error is that of
// all, which are then handed over again one by one.
func Together(f func(t *Turn, payloads [][]byte) ([][]byte, error)) Func {
	return func(t *Turn) ([]byte, error) {
		calls, err := split(t.Payload())
		if err != nil {
			return nil, err
		}
		replies, err := f(t, calls)
		if err == nil && len(replies) != len(calls) {
			err = fmt.Errorf("%d replies to %d calls", len(replies), len(calls))
		}
		if err != nil {
			return nil, err
		}
		out := binary.LittleEndian.AppendUint32(nil, uint32(len(calls)))
		for _, r := range replies {
			out = answer(out, r, nil)
		}
		return out, nil
	}
}

// part is the host of one call of several.
type part struct {
	Host
	payload []byte
}

func (p part) Payload() []byte { return p.payload }

// split reads the calls of a batch.
func split(b []byte) ([][]byte, error) {
	wrong := &Error{Invalid, "the payload is no batch of calls"}
	if len(b) < 4 {
		return nil, wrong
	}
	count := binary.LittleEndian.Uint32(b)
	var out [][]byte
	for b = b[4:]; len(b) >= 4; {
		n := binary.LittleEndian.Uint32(b)
		if b = b[4:]; uint64(n) > uint64(len(b)) {
			return nil, wrong
		}
		out = append(out, b[:n:n])
		b = b[n:]
	}
	if len(b) > 0 || uint64(len(out)) != uint64(count) {
		return nil, wrong
	}
	return out, nil
}

// answer adds what came of a call.
func answer(out, reply []byte, err error) []byte {
	kind := uint32(0)
	if err != nil {
		kind, reply = 1, []byte(err.Error())
	}
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(reply)))
	return append(out, reply...)
}
