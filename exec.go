package shoal

import (
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
)

// ExecPrefix begins what people type for a native executor: exec:NAME.
const ExecPrefix = "exec:"

// maxExecName bounds the name of an executor.
const maxExecName = 64

// CheckExecName says what is wrong with the name of a native executor: 1 to 64 of a-z, 0-9, '.', '_' and '-',
// the first a letter or digit.
func CheckExecName(name string) error {
	ok := name != "" && len(name) <= maxExecName && !strings.ContainsAny(name[:1], "._-")
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	if !ok {
		return E(Invalid, "executor "+quote(name), "it is not 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit",
			"call it so")
	}
	return nil
}

// ExecCID is the code of tasks that a native executor runs, wherever there is one of that name. It is an
// identity CID: there is no block to fetch, the name is in it.
func ExecCID(name string) cid.Cid {
	c, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: 0, MhLength: -1}.Sum([]byte(ExecPrefix + name))
	if err != nil {
		panic("the identity is always there: " + err.Error())
	}
	return c
}

// ExecName returns the name of the native executor that c stands for; false for the CID of a module.
func ExecName(c cid.Cid) (name string, ok bool) {
	if !c.Defined() || c.Type() != cid.Raw {
		return "", false
	}
	h := c.Hash()
	if len(h) < 2 || h[0] != 0 || int(h[1]) != len(h)-2 { // identity, a length of one byte
		return "", false
	}
	name, ok = strings.CutPrefix(string(h[2:]), ExecPrefix)
	return name, ok && CheckExecName(name) == nil
}

// CodeName is how people see the code of a task: a module's CID, or exec:NAME.
func CodeName(c cid.Cid) string {
	if name, ok := ExecName(c); ok {
		return ExecPrefix + name
	}
	return fmt.Sprint(c)
}
