package hostcall

import (
	"bytes"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
)

// output sets the reply. One that is too large ends the turn: a guest that overlooked an error number would
// have its caller take half an answer for the whole.
func (d *Desk) output(mem api.Memory, s []uint64) int32 {
	if n := uint32(s[1]); n > MaxPayload {
		panic(&End{shoal.E(shoal.Failed, "", tooLong("reply", n, MaxPayload), "put it as data and reply with its CID")})
	}
	b, code := d.take(mem, s[0], s[1], MaxPayload, "reply")
	if code == 0 {
		d.reply = bytes.Clone(b)
	}
	return code
}

// fail has the turn end in an error with this text.
func (d *Desk) fail(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[0], min(uint64(uint32(s[1])), maxFailure), maxFailure, "text")
	if code == 0 {
		d.failed, d.failure = true, strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return code
}

// remaining gives what the buffer of the last call had no room for.
func (d *Desk) remaining(mem api.Memory, s []uint64) int32 {
	if len(d.rest) > int(uint32(s[1])) {
		return int32(len(d.rest))
	}
	code := d.put(mem, d.rest, s[0])
	if code >= 0 {
		d.rest = again(d.rest)
	}
	return code
}

// message takes a method and its payload, copied: they outlive the call.
func (d *Desk) message(mem api.Memory, s []uint64) (method string, payload []byte, code int32) {
	b, code := d.take(mem, s[0], s[1], MaxName, "method")
	if code < 0 {
		return "", nil, code
	}
	p, code := d.take(mem, s[2], s[3], MaxPayload, "payload")
	return string(b), bytes.Clone(p), code
}

func (d *Desk) call(mem api.Memory, s []uint64) int32 {
	to, code := d.take(mem, s[0], s[1], MaxName, "agent")
	if code < 0 {
		return code
	}
	method, payload, code := d.message(mem, s[2:])
	if code < 0 {
		return code
	}
	ctx := d.Host.Context()
	reply, err := d.turn.Out.Call(ctx, string(to), method, payload)
	if ctx.Err() != nil {
		panic(&End{ctx.Err()})
	}
	d.Host.Resumed()
	if err != nil {
		return d.number(err)
	}
	return d.give(mem, reply, s[6], s[7])
}

func (d *Desk) send(mem api.Memory, s []uint64) int32 {
	to, code := d.take(mem, s[0], s[1], MaxName, "agent")
	if code < 0 {
		return code
	}
	method, payload, code := d.message(mem, s[2:])
	if code < 0 {
		return code
	}
	return d.staging(d.turn.Out.Send(string(to), method, payload))
}

func (d *Desk) timer(mem api.Memory, s []uint64) int32 {
	name, code := d.take(mem, s[0], s[1], MaxName, "timer")
	if code < 0 {
		return code
	}
	method, payload, code := d.message(mem, s[3:])
	if code < 0 {
		return code
	}
	return d.staging(d.turn.Out.Timer(string(name), time.Duration(s[2]), method, payload))
}

func (d *Desk) random(mem api.Memory, s []uint64) int32 {
	b, code := d.take(mem, s[0], s[1], maxRandom, "buffer")
	if code == 0 {
		d.Random(b)
	}
	return code
}
