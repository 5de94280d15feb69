package native

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Verb is the first argument of a process that calls Main.
const Verb = "run-native"

// becomeVerb is the argument of the process that becomes the command.
const becomeVerb = "become"

// charge is what the node tells a ward, as one line of JSON on its descriptor 3. After it come single bytes:
// 'T' asks the ward to end the command. The end of the stream, also by the node's death, kills it at once.
type charge struct {
	Command []string      `json:"command"` // the first is a path
	Grace   time.Duration `json:"grace"`   // between SIGTERM and SIGKILL
	Caps    caps          `json:"caps"`
}

// caps are the limits that the system is to hold a command to; zero: none.
type caps struct {
	Memory    uint64 `json:"memory,omitempty"`
	Processes int    `json:"processes,omitempty"`
	File      uint64 `json:"file,omitempty"` // bytes of one file
	Cgroup    string `json:"cgroup,omitempty"`
}

// word is what a ward tells the node, as lines of JSON on its descriptor 4.
type word struct {
	Group  int    `json:"group,omitempty"`  // the process group of the command, once it is there
	Bounds string `json:"bounds,omitempty"` // how limits are held
	Fail   string `json:"fail,omitempty"`   // why there is no command
	Ended  bool   `json:"ended,omitempty"`  // all of its processes are gone
	Exit   int    `json:"exit,omitempty"`
	Signal int    `json:"signal,omitempty"` // that ended it
	Memory bool   `json:"memory,omitempty"` // the system ended it for the memory it used
}

func say(w io.Writer, v word) {
	b, _ := json.Marshal(v)         // of numbers and texts
	_, _ = w.Write(append(b, '\n')) // a node that is gone hears nothing
}

// Main is the whole of a process that Config.Helper starts: a ward, or what becomes the command. It returns
// the exit code, which nobody needs.
func Main(args []string) int {
	if len(args) > 0 && args[0] == becomeVerb {
		become(args[1:])
		return 1
	}
	if err := ward(os.NewFile(3, "charge"), os.NewFile(4, "word")); err != nil {
		fmt.Fprintln(os.Stderr, "shoal: "+err.Error())
		return 1
	}
	return 0
}

// list says what is limited and what is not.
func list(held, not []string) string {
	var out []string
	if len(held) > 0 {
		out = append(out, "rlimits: "+strings.Join(held, ", "))
	}
	if len(not) > 0 {
		out = append(out, "not limited: "+strings.Join(not, ", "))
	}
	return strings.Join(out, "; ")
}
