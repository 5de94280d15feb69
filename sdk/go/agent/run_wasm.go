//go:build wasip1

package agent

import (
	"encoding/binary"
	"time"
	"unsafe"
)

// Run runs a method for the node, and returns what an exported function returns.
func Run(f Func) int32 {
	reply, err := Invoke(node{}, f)
	if err != nil {
		text := err.Error()
		hostFail(text)
		return 1
	}
	if len(reply) > 0 {
		hostOutput(pointer(reply), uint32(len(reply)))
	}
	return 0
}

//go:wasmimport shoal input
func hostInput(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal rest
func hostRest(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal error
func hostError(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal output
func hostOutput(p unsafe.Pointer, n uint32) int32

//go:wasmimport shoal fail
func hostFail(text string) int32

//go:wasmimport shoal get
func hostGet(key string, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal put
func hostPut(key string, value unsafe.Pointer, n uint32) int32

//go:wasmimport shoal delete
func hostDelete(key string) int32

//go:wasmimport shoal scan
func hostScan(prefix, after string, limit uint32, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal call
func hostCall(to, method string, payload unsafe.Pointer, n uint32, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal send
func hostSend(to, method string, payload unsafe.Pointer, n uint32) int32

//go:wasmimport shoal timer
func hostTimer(name string, delay int64, method string, payload unsafe.Pointer, n uint32) int32

//go:wasmimport shoal read
func hostRead(dataset, path string, offset int64, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal files
func hostFiles(dataset, path, after string, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal state_add
func hostStateAdd(name, field string, by int64, kind uint32) int32

//go:wasmimport shoal state_set
func hostStateSet(name, field string, value unsafe.Pointer, n uint32) int32

//go:wasmimport shoal state_insert
func hostStateInsert(name, field, element string, kind uint32) int32

//go:wasmimport shoal state_remove
func hostStateRemove(name, field, element string) int32

//go:wasmimport shoal state_clear
func hostStateClear(name, field string) int32

//go:wasmimport shoal state_get
func hostStateGet(name, field string, kind uint32, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal state_has
func hostStateHas(name, field, element string) int32

//go:wasmimport shoal state_items
func hostStateItems(name, field, after string, first, limit uint32, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal state_fields
func hostStateFields(name, after string, limit uint32, buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal log
func hostLog(line string) int32

//go:wasmimport shoal random
func hostRandom(buf unsafe.Pointer, n uint32) int32

//go:wasmimport shoal agent
func hostAgent(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal caller
func hostCaller(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal request
func hostRequest(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal trace
func hostTrace(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal method
func hostMethod(buf unsafe.Pointer, room uint32) int32

//go:wasmimport shoal now
func hostNow() int64

//go:wasmimport shoal epoch
func hostEpoch() int64

//go:wasmimport shoal gas
func hostGas() int64

//go:wasmimport shoal reading
func hostReading() int32

// scratch takes most of what the host gives, so that it comes in one call. A module runs one turn at a time.
var scratch [4096]byte

func pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// take returns the n bytes that a host call gave into scratch, or could not.
func take(n int32) ([]byte, error) {
	if n < 0 {
		return nil, failed(n)
	}
	out := make([]byte, n)
	if int(n) <= len(scratch) {
		copy(out, scratch[:])
		return out, nil
	}
	if got := hostRest(pointer(out), uint32(n)); got < 0 {
		return nil, failed(got)
	}
	return out, nil
}

// failed is the error for a result below zero.
func failed(n int32) error {
	if n >= 0 {
		return nil
	}
	text := make([]byte, 512)
	got := hostError(pointer(text), uint32(len(text)))
	if got > int32(len(text)) {
		text = make([]byte, got)
		got = hostRest(pointer(text), uint32(got))
	}
	return &Error{Kind(-n), string(text[:max(0, got)])}
}

// node is the Host of a module that runs.
type node struct{}

func (node) Payload() []byte {
	b, _ := take(hostInput(unsafe.Pointer(&scratch), uint32(len(scratch))))
	return b
}

func (node) Get(key string) ([]byte, error) {
	n := hostGet(key, unsafe.Pointer(&scratch), uint32(len(scratch)))
	if n == -int32(NotFound) {
		return nil, &Error{NotFound, "there is no such key"}
	}
	return take(n)
}

func (node) Put(key string, value []byte) error {
	return failed(hostPut(key, pointer(value), uint32(len(value))))
}

func (node) Delete(key string) error { return failed(hostDelete(key)) }

func (node) Scan(prefix, after string, limit int) ([]Pair, error) {
	page, err := take(hostScan(prefix, after, uint32(max(0, min(limit, 1<<30))), unsafe.Pointer(&scratch), uint32(len(scratch))))
	var out []Pair
	for len(page) >= 8 {
		k, v := binary.LittleEndian.Uint32(page), binary.LittleEndian.Uint32(page[4:])
		page = page[8:]
		out = append(out, Pair{string(page[:k]), page[k : k+v : k+v]})
		page = page[k+v:]
	}
	return out, err
}

func (node) Call(to, method string, payload []byte) ([]byte, error) {
	return take(hostCall(to, method, pointer(payload), uint32(len(payload)), unsafe.Pointer(&scratch), uint32(len(scratch))))
}

func (node) Send(to, method string, payload []byte) error {
	return failed(hostSend(to, method, pointer(payload), uint32(len(payload))))
}

func (node) Timer(name string, delay time.Duration, method string, payload []byte) error {
	return failed(hostTimer(name, int64(delay), method, pointer(payload), uint32(len(payload))))
}

func (node) Read(dataset, path string, offset int64, b []byte) (int, error) {
	n := hostRead(dataset, path, offset, pointer(b), uint32(len(b)))
	return int(max(0, n)), failed(n)
}

func (node) Files(dataset, path, after string) ([]Entry, error) {
	page, err := take(hostFiles(dataset, path, after, unsafe.Pointer(&scratch), uint32(len(scratch))))
	var out []Entry
	for len(page) >= 12 {
		size, n := binary.LittleEndian.Uint64(page), binary.LittleEndian.Uint32(page[8:])
		e := Entry{Name: string(page[12 : 12+n]), Bytes: int64(size), Dir: size == 1<<64-1}
		if e.Dir {
			e.Bytes = 0
		}
		out, page = append(out, e), page[12+n:]
	}
	return out, err
}

func (node) StateAdd(name, field string, kind ObjectKind, by int64) error {
	return failed(hostStateAdd(name, field, by, uint32(kind)))
}

func (node) StateSet(name, field string, value []byte) error {
	return failed(hostStateSet(name, field, pointer(value), uint32(len(value))))
}

func (node) StateInsert(name, field string, kind ObjectKind, element string) error {
	return failed(hostStateInsert(name, field, element, uint32(kind)))
}

func (node) StateRemove(name, field, element string) error {
	return failed(hostStateRemove(name, field, element))
}

func (node) StateClear(name, field string) error { return failed(hostStateClear(name, field)) }

func (node) StateGet(name, field string, kind ObjectKind) (Value, error) {
	n := hostStateGet(name, field, uint32(kind), unsafe.Pointer(&scratch), uint32(len(scratch)))
	if n == -int32(NotFound) {
		return Value{}, &Error{NotFound, "nothing of this name is known here"}
	}
	b, err := take(n)
	if err != nil || len(b) < 4 {
		return Value{}, err
	}
	return value(field, ObjectKind(binary.LittleEndian.Uint32(b)), b[4:]), nil
}

// value reads one as the host writes it.
func value(field string, kind ObjectKind, b []byte) Value {
	v := Value{Field: field, Kind: kind}
	if kind == Register {
		v.Bytes = b
	} else if len(b) == 8 {
		v.Number = int64(binary.LittleEndian.Uint64(b))
	}
	return v
}

func (node) StateHas(name, field, element string) (bool, error) {
	n := hostStateHas(name, field, element)
	return n > 0, failed(n)
}

func (node) StateItems(name, field, after string, first bool, limit int) (out []string, err error) {
	from := uint32(0)
	if first {
		from = 1
	}
	page, err := take(hostStateItems(name, field, after, from, uint32(max(0, min(limit, 1<<30))), unsafe.Pointer(&scratch), uint32(len(scratch))))
	for len(page) >= 4 {
		n := binary.LittleEndian.Uint32(page)
		out, page = append(out, string(page[4:4+n])), page[4+n:]
	}
	return out, err
}

func (node) StateFields(name, after string, limit int) (out []Value, err error) {
	page, err := take(hostStateFields(name, after, uint32(max(0, min(limit, 1<<30))), unsafe.Pointer(&scratch), uint32(len(scratch))))
	for len(page) >= 12 {
		kind, f, v := binary.LittleEndian.Uint32(page), binary.LittleEndian.Uint32(page[4:]), binary.LittleEndian.Uint32(page[8:])
		page = page[12:]
		out = append(out, value(string(page[:f]), ObjectKind(kind), page[f:f+v:f+v]))
		page = page[f+v:]
	}
	return out, err
}

func (node) Log(line string) { hostLog(line) }

func (node) Text(name string) string {
	var f func(unsafe.Pointer, uint32) int32
	switch name {
	case "agent":
		f = hostAgent
	case "caller":
		f = hostCaller
	case "request":
		f = hostRequest
	case "trace":
		f = hostTrace
	case "method":
		f = hostMethod
	default:
		return ""
	}
	b, _ := take(f(unsafe.Pointer(&scratch), uint32(len(scratch))))
	return string(b)
}

func (node) Number(name string) int64 {
	switch name {
	case "now":
		return hostNow()
	case "epoch":
		return hostEpoch()
	case "gas":
		return hostGas()
	case "reading":
		return int64(hostReading())
	}
	return 0
}

func (node) Random(b []byte) {
	for len(b) > 0 {
		part := b[:min(len(b), 1<<20)]
		hostRandom(pointer(part), uint32(len(part)))
		b = b[len(part):]
	}
}
