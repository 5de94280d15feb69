package examples

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"embed"
	"io"
)

//go:embed *.wasm *.wasm.gz
var modules embed.FS

// Example is one program.
type Example struct {
	Name   string
	About  string // one line: what it does, with its arguments
	Module []byte // WebAssembly; the caller's own copy
}

// List returns the examples, sorted by name, without their modules.
func List() []Example {
	return []Example{
		{Name: "ask", About: "ask AGENT METHOD [PAYLOAD]: calls an agent and prints its reply"},
		{Name: "cat", About: "cat [PATH...]: writes files, or standard input, to standard output"},
		{Name: "classify", About: "classify: a service that finds dirty words, one text or many at once; methods classify, handle_batch"},
		{Name: "count", About: "count NAME[#FIELD] [N]: adds to a counter of the mergeable state, and prints it"},
		{Name: "counter", About: "counter: an agent that counts; methods add [N], get"},
		{Name: "counterc", About: "counterc: the same in C; methods add [N], get"},
		{Name: "election", About: "election: the bully algorithm, each member an agent; methods setup, leader, rounds"},
		{Name: "fail", About: "fail [CODE|trap]: ends with an exit code, 1 by default, or traps"},
		{Name: "grep", About: "grep TEXT [PATH...]: prints the lines of /data that contain TEXT"},
		{Name: "hello", About: "hello [NAME...]: greets"},
		{Name: "kv", About: "kv: an agent that is a map; methods get, put, swap (compare-and-swap), delete, list"},
		{Name: "ledger", About: "ledger: an agent that checks numbered messages of a topic; methods take, report, last KEY"},
		{Name: "lock", About: "lock: an agent that lends locks with fencing tokens; methods acquire, renew, release, holder"},
		{Name: "membership", About: "membership: an agent that knows who is there; methods join, beat, leave, view, history, watch"},
		{Name: "poll", About: "poll: an agent that takes votes into mergeable state; methods vote, result, turnout"},
		{Name: "primes", About: "primes: a long computation in parts, that goes on elsewhere; methods start N, progress, stop"},
		{Name: "queue", About: "queue: an agent that hands out messages until they are done; methods push, pull, done, extend, count"},
		{Name: "reader", About: "reader: an agent that reads datasets by CID, wherever they lie; methods lines, sum, total"},
		{Name: "readerc", About: "readerc: the same in C; methods sum, total"},
		{Name: "tally", About: "tally: what a counter can be upgraded to; methods add [N], get, largest"},
		{Name: "transfer", About: "transfer: two-phase commit over agents; methods deposit, balance, transfer, status"},
		{Name: "wordcount", About: "wordcount [PATH...]: counts the words of /data into /out/counts.tsv"},
		{Name: "wordcount-stream", About: "wordcount-stream: an agent that counts words into a map of the mergeable state; methods count, into, top"},
		{Name: "wordsum", About: "wordsum: adds up the counts.tsv files of /data into /out/counts.tsv"},
		{Name: "workflow", About: "workflow: a sign-up in five steps through topics, undone if one fails; methods name, account, licence, mail, index, undo, show"},
	}
}

// All returns the examples, sorted by name.
func All() []Example {
	out := List()
	for i := range out {
		out[i].Module, _ = Module(out[i].Name)
	}
	return out
}

// Names returns the names of the examples, sorted.
func Names() []string {
	var out []string
	for _, e := range List() {
		out = append(out, e.Name)
	}
	return out
}

// Module returns the module of an example, and whether there is one of that name.
func Module(name string) ([]byte, bool) {
	if b, err := modules.ReadFile(name + ".wasm"); err == nil {
		return b, true
	}
	b, err := modules.ReadFile(name + ".wasm.gz")
	if err != nil {
		return nil, false
	}
	b, err = unzip(b)
	return b, err == nil
}

func unzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// CountWords adds the words that r holds to counts: what the wordcount module does, in Go. A word is
// a maximal run of ASCII letters, digits, '_' and bytes from 0x80 on, in lower case (ASCII only).
func CountWords(r io.Reader, counts map[string]uint64) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var word []byte
	for {
		c, err := in.ReadByte()
		switch {
		case err == nil && c >= 'A' && c <= 'Z':
			word = append(word, c+'a'-'A')
		case err == nil && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80):
			word = append(word, c)
		case len(word) > 0:
			counts[string(word)]++
			word = word[:0]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
