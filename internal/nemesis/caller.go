package nemesis

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Caller chooses the calls of one client, and remembers what it needs of the replies. It is for one goroutine.
type Caller struct {
	n     int
	model string
	rng   *rand.Rand
	made  int
	seen  map[string]string // by key of kv: the last version seen; by lock: the last token
}

// NewCaller returns the caller of client n for the agent that runs an example, which is the agent's name as well.
func NewCaller(n int, model string, seed uint64) *Caller {
	return &Caller{n: n, model: model, rng: rand.New(rand.NewPCG(seed, uint64(100+n))), seen: map[string]string{}}
}

// eachKey is how many calls a key or a lock gets, about: the search for an order is short then.
const eachKey = 300

// Epoch is which keys are in use after so many calls of all clients: they are left for others after a while.
func Epoch(calls int64) int64 { return calls / eachKey }

// Keys are the keys of kv, and the lock, of an epoch.
func Keys(epoch int64) (keys []string, lock string) {
	return []string{fmt.Sprintf("k%d.0", epoch), fmt.Sprintf("k%d.1", epoch)}, fmt.Sprintf("l%d", epoch)
}

// Next chooses a call, which writes what no other writes. id names it; read says that it is to be asked as one that
// only reads.
func (c *Caller) Next(epoch int64) (op Op, id string, read bool) {
	op = Op{Client: c.n, Agent: c.model, Model: c.model}
	c.made++
	id = fmt.Sprintf("c%d.%d", c.n, c.made)
	keys, lock := Keys(epoch)
	switch c.model {
	case "counter":
		op.Method = "add"
		if c.rng.IntN(3) == 0 {
			op.Method = "get"
		}
		return op, id, op.Method == "get" && c.rng.IntN(4) > 0
	case "lock":
		op.Key = lock
		switch n := c.rng.IntN(10); {
		case n < 4:
			op.Method, op.Rest = "acquire", id+"\n86400000"
		case n < 7 && c.seen[lock] != "":
			op.Method, op.Rest = "release", c.seen[lock]
		default:
			op.Method = "holder"
		}
		return op, id, op.Method == "holder"
	}
	op.Key = keys[c.rng.IntN(len(keys))]
	switch n := c.rng.IntN(20); {
	case n < 6:
		op.Method, op.Rest = "put", id
	case n < 10:
		known := c.seen[op.Key]
		if known == "" {
			known = "0"
		}
		op.Method, op.Rest = "swap", known+"\n"+id
	case n < 12:
		op.Method = "delete"
	default:
		op.Method = "get"
	}
	return op, id, op.Method == "get" && c.rng.IntN(5) > 0
}

// Learn remembers the numbers in a reply.
func (c *Caller) Learn(op Op, reply string) {
	line, _, _ := strings.Cut(reply, "\n")
	words := strings.Fields(line)
	if len(words) == 0 || op.Model == "counter" {
		return
	}
	switch number := words[len(words)-1]; {
	case op.Method == "holder" && len(words) == 3:
		c.seen[op.Key] = words[1]
	case op.Method == "get" || op.Method == "put" || words[0] == "swapped" || words[0] == "conflict" || words[0] == "token":
		c.seen[op.Key] = number
	}
}

// Reads are the calls of a client that looks at all that is in use, to see whether what it is shown is old.
func Reads(client int, epoch int64) []Op {
	keys, lock := Keys(epoch)
	list := []Op{{Model: "lock", Method: "holder", Key: lock}, {Model: "counter", Method: "get"}}
	for _, k := range keys {
		list = append(list, Op{Model: "kv", Method: "get", Key: k})
	}
	for i := range list {
		list[i].Client, list[i].Agent = client, list[i].Model
	}
	return list
}
