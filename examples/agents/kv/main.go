// Kv is an agent that is a map, with compare-and-swap. Payloads are lines; a value is all that follows them.
//
//	get KEY                 replies "VERSION" and the value, or "0" if there is none
//	put KEY, value          replies the new version
//	swap KEY, VERSION, value puts the value if the key has that version, 0 for none: replies "swapped VERSION"
//	                        or "conflict VERSION", the present one
//	delete KEY              replies "deleted" or "absent"
//	list PREFIX, AFTER      replies up to 100 keys, one a line, in order; AFTER may be missing
//
// No version is used twice in the life of the agent, so a key that was deleted and put again is told apart.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport get
func get() int32 { return agent.Run(Get) }

//go:wasmexport put
func put() int32 { return agent.Run(Put) }

//go:wasmexport swap
func swap() int32 { return agent.Run(Swap) }

//go:wasmexport delete
func del() int32 { return agent.Run(Delete) }

//go:wasmexport list
func list() int32 { return agent.Run(List) }

var errKey = errors.New("the first line must be a key of 1 to 1000 bytes")

// keyOf cuts the key off a payload.
func keyOf(t *agent.Turn) (key, rest string, err error) {
	key, rest, _ = strings.Cut(string(t.Payload()), "\n")
	if key == "" || len(key) > 1000 {
		err = errKey
	}
	return key, rest, err
}

// look returns the version of a key, "0" for none, and its value.
func look(t *agent.Turn, key string) (version, value string) {
	entry, ok := t.Get("k/" + key)
	if !ok {
		return "0", ""
	}
	version, value, _ = strings.Cut(string(entry), "\n")
	return version, value
}

func store(t *agent.Turn, key, value string) (version string) {
	n := t.Int("version") + 1
	t.PutInt("version", n)
	version = strconv.FormatInt(n, 10)
	t.Put("k/"+key, []byte(version+"\n"+value))
	return version
}

// Get replies a key's version and value.
func Get(t *agent.Turn) ([]byte, error) {
	key, _, err := keyOf(t)
	if err != nil {
		return nil, err
	}
	version, value := look(t, key)
	if version == "0" {
		return []byte("0"), nil
	}
	return []byte(version + "\n" + value), nil
}

// Put sets a key.
func Put(t *agent.Turn) ([]byte, error) {
	key, value, err := keyOf(t)
	if err != nil {
		return nil, err
	}
	return []byte(store(t, key, value)), nil
}

// Swap sets a key if it has the version that the caller knows.
func Swap(t *agent.Turn) ([]byte, error) {
	key, rest, err := keyOf(t)
	if err != nil {
		return nil, err
	}
	known, value, _ := strings.Cut(rest, "\n")
	if _, err := strconv.ParseUint(known, 10, 63); err != nil {
		return nil, errors.New("the second line must be a version, a number")
	}
	if version, _ := look(t, key); version != known {
		return []byte("conflict " + version), nil
	}
	return []byte("swapped " + store(t, key, value)), nil
}

// Delete removes a key.
func Delete(t *agent.Turn) ([]byte, error) {
	key, _, err := keyOf(t)
	if err != nil {
		return nil, err
	}
	if version, _ := look(t, key); version == "0" {
		return []byte("absent"), nil
	}
	t.Delete("k/" + key)
	return []byte("deleted"), nil
}

// List replies keys.
func List(t *agent.Turn) ([]byte, error) {
	prefix, after, _ := strings.Cut(string(t.Payload()), "\n")
	if after != "" {
		after = "k/" + after
	}
	var keys []string
	for _, p := range t.Scan("k/"+prefix, after, 100) {
		keys = append(keys, strings.TrimPrefix(p.Key, "k/"))
	}
	return []byte(strings.Join(keys, "\n")), nil
}
