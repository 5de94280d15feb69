package engine

import (
	"math"
	"reflect"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// unseen is the answer if the engine is not as we know it: whoever holds it against a bound stops the guest.
const unseen = math.MaxInt

// StackUsed is how many bytes of stack the functions of a guest take at the moment. f is the function that was called
// into it, and one of the host's is running. The engine tells nobody; this looks into what it keeps for f. On machines
// for which it has no compiler it is zero: the interpreter has bounds of its own, 2,000 calls.
func StackUsed(f api.Function) int {
	c, ok := callEngine(f)
	if !ok {
		return unseen
	} else if !c.IsValid() {
		return 0
	}
	top, at := c.FieldByName("stackTop"), c.FieldByName("execCtx")
	if at.Kind() == reflect.Struct {
		at = at.FieldByName("stackPointerBeforeGoCall")
	}
	if top.Kind() != reflect.Uintptr || at.Kind() != reflect.Pointer || at.IsNil() || top.Uint() < uint64(at.Pointer()) {
		return unseen
	}
	return int(top.Uint() - uint64(at.Pointer()))
}

// StackHeld is how many bytes of memory a function keeps for stack, whether it runs or not.
func StackHeld(f api.Function) int {
	c, ok := callEngine(f)
	if !ok {
		return unseen
	} else if !c.IsValid() {
		return 0
	}
	s := c.FieldByName("stack")
	if s.Kind() != reflect.Slice {
		return unseen
	}
	return s.Cap()
}

// callEngine is the structure behind a function; none if it is interpreted.
func callEngine(f api.Function) (reflect.Value, bool) {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	v = v.Elem()
	if strings.HasSuffix(v.Type().PkgPath(), "/interpreter") {
		return reflect.Value{}, true
	}
	return v, true
}
