package engine

import (
	"math"
	"reflect"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
)

// The engine runs a guest on a stack in Go's heap, which it doubles when it is full, up to 84 MB, and copies in one go:
// meanwhile the processor is nobody else's, for tens of milliseconds. It has no setting for that and tells nobody how
// deep a stack is. So this looks into what it keeps for a function, and gives it a stack that needs no growing.
//
// unseen is the depth if the engine is not as we know it: whoever holds it against a bound stops the guest.
const unseen = math.MaxInt

// layout is where the engine keeps what it knows of a function's stack.
type layout struct {
	of          reflect.Type
	known       bool
	interpreted bool    // where there is no compiler for the machine: 2,000 calls are the engine's own bound
	stack       uintptr // a []byte
	top         uintptr // a uintptr: the end of the stack, aligned
	bottom      uintptr // a *byte: its beginning
	at          uintptr // a *uint64: where it is while a function of the host runs
}

var latest atomic.Pointer[layout]

func layoutOf(f api.Function) (*layout, unsafe.Pointer) {
	v := reflect.ValueOf(f)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return &layout{}, nil
	}
	l := latest.Load()
	if l == nil || l.of != v.Type() {
		l = find(v.Type())
		latest.Store(l)
	}
	return l, v.UnsafePointer()
}

func find(pointer reflect.Type) *layout {
	l := &layout{of: pointer}
	t := pointer.Elem()
	if t.Kind() != reflect.Struct || t.Name() != "callEngine" {
		return l
	}
	if strings.HasSuffix(t.PkgPath(), "/interpreter") {
		l.interpreted = true
		return l
	}
	field := func(in reflect.Type, name string, typ reflect.Type, at *uintptr) bool {
		f, ok := in.FieldByName(name)
		*at += f.Offset
		return ok && f.Type == typ
	}
	execution, ok := t.FieldByName("execCtx")
	if !ok || execution.Type.Kind() != reflect.Struct {
		return l
	}
	l.bottom, l.at = execution.Offset, execution.Offset
	l.known = field(t, "stack", reflect.TypeFor[[]byte](), &l.stack) &&
		field(t, "stackTop", reflect.TypeFor[uintptr](), &l.top) &&
		field(execution.Type, "stackBottomPtr", reflect.TypeFor[*byte](), &l.bottom) &&
		field(execution.Type, "stackPointerBeforeGoCall", reflect.TypeFor[*uint64](), &l.at)
	return l
}

// Seat has the next calls of a function run on the stack given, until they need more: then the engine goes over to one
// in Go's heap. It must not be running, and nobody else's call may be on that stack.
func Seat(f api.Function, stack []byte) {
	l, p := layoutOf(f)
	if !l.known || len(stack) < 1<<20 {
		return
	}
	*(*[]byte)(unsafe.Add(p, l.stack)) = stack
	*(*uintptr)(unsafe.Add(p, l.top)) = uintptr(unsafe.Pointer(&stack[len(stack)-1])) &^ 15
	*(**byte)(unsafe.Add(p, l.bottom)) = &stack[0]
}

// StackUsed is how many bytes of stack the functions of a guest take at the moment. f is the function that was called
// into it, and one of the host's is running. It is zero on machines for which the engine has no compiler.
func StackUsed(f api.Function) int {
	l, p := layoutOf(f)
	if l.interpreted {
		return 0
	}
	if !l.known {
		return unseen
	}
	top, at := *(*uintptr)(unsafe.Add(p, l.top)), *(*uintptr)(unsafe.Add(p, l.at))
	if at == 0 || at > top {
		return unseen
	}
	return int(top - at)
}
