// Transfer moves money between agents by two-phase commit. The module is both sides: an account, which has
// a balance, and a coordinator, an agent that is given transfers. An agent may be both.
//
// An account:
//
//	deposit N            replies the balance
//	balance              replies "BALANCE AVAILABLE"; it only reads
//
// A coordinator; payloads are lines:
//
//	transfer FROM, TO, N replies the name of the transfer, which then goes on by itself
//	status NAME          replies "preparing", "committed", "aborted WHY"; it only reads
//
// The rest are messages between them: prepare and vote, then commit or abort. They are sent when the turn that
// sends them is durable, and each arrives once, so a step never happens without the one before, whoever dies in
// between. Whoever has not voted when the time is over is taken to have voted no.
package main

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport deposit
func deposit() int32 { return agent.Run(Deposit) }

//go:wasmexport balance
func balance() int32 { return agent.Run(Balance) }

//go:wasmexport prepare
func prepare() int32 { return agent.Run(Prepare) }

//go:wasmexport commit
func commit() int32 { return agent.Run(Commit) }

//go:wasmexport abort
func abort() int32 { return agent.Run(Abort) }

//go:wasmexport transfer
func transfer() int32 { return agent.Run(Transfer) }

//go:wasmexport vote
func vote() int32 { return agent.Run(Vote) }

//go:wasmexport late
func late() int32 { return agent.Run(Late) }

//go:wasmexport status
func status() int32 { return agent.Run(Status) }

// patience is how long the accounts have for their votes.
const patience = 10 * time.Second

const most = 1 << 53

// lines returns the n lines of a payload.
func lines(t *agent.Turn, n int) ([]string, error) {
	p := strings.Split(string(t.Payload()), "\n")
	if len(p) != n {
		return nil, errors.New("the payload has " + strconv.Itoa(n) + " lines")
	}
	return p, nil
}

func amount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, errors.New("the amount is a number from 1 to " + strconv.Itoa(most))
	}
	return n, nil
}

// held is what the account has promised to give away.
func held(t *agent.Turn) (sum int64) {
	for _, v := range t.All("hold/") {
		if n, _ := strconv.ParseInt(string(v), 10, 64); n < 0 {
			sum -= n
		}
	}
	return sum
}

// Deposit brings money into the world.
func Deposit(t *agent.Turn) ([]byte, error) {
	n, err := amount(string(t.Payload()))
	if err != nil {
		return nil, err
	}
	sum := t.Int("balance") + n
	if sum > most {
		return nil, errors.New("an account holds " + strconv.Itoa(most) + " at most")
	}
	t.PutInt("balance", sum)
	return strconv.AppendInt(nil, sum, 10), nil
}

// Balance says what the account has, and how much of it is not promised.
func Balance(t *agent.Turn) ([]byte, error) {
	b := t.Int("balance")
	return []byte(strconv.FormatInt(b, 10) + " " + strconv.FormatInt(b-held(t), 10)), nil
}

// Prepare asks the account whether it can give or take, as "NAME, CHANGE". If so it is held to that.
func Prepare(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 2)
	if err != nil {
		return nil, err
	}
	change, err := strconv.ParseInt(p[1], 10, 64)
	answer := "yes"
	switch b := t.Int("balance"); {
	case err != nil:
		return nil, err
	case change < 0 && b-held(t) < -change:
		answer = "it has " + strconv.FormatInt(b-held(t), 10) + " to give"
	case change > 0 && b > most-change:
		answer = "it can take no more"
	default:
		t.PutInt("hold/"+p[0], change)
	}
	t.Send(t.Caller(), "vote", []byte(p[0]+"\n"+p[1]+"\n"+answer))
	return nil, nil
}

// Commit does what the account is held to.
func Commit(t *agent.Turn) ([]byte, error) {
	hold := "hold/" + string(t.Payload())
	t.PutInt("balance", t.Int("balance")+t.Int(hold))
	t.Delete(hold)
	return nil, nil
}

// Abort lets go.
func Abort(t *agent.Turn) ([]byte, error) {
	t.Delete("hold/" + string(t.Payload()))
	return nil, nil
}

// Transfer begins a transfer. Its name has a secret part: only whoever was asked to vote can.
func Transfer(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 3)
	if err != nil {
		return nil, err
	}
	if _, err := amount(p[2]); err != nil {
		return nil, err
	}
	if p[0] == p[1] {
		return nil, errors.New("from an account to itself")
	}
	var secret [16]byte
	t.Random(secret[:])
	name := strconv.FormatInt(t.Int("count")+1, 10) + "-" + hex.EncodeToString(secret[:])
	t.PutInt("count", t.Int("count")+1)
	t.Put("to/"+name, []byte(p[0]+"\n"+p[1]))
	t.Put("state/"+name, []byte("preparing"))
	t.Send(p[0], "prepare", []byte(name+"\n-"+p[2]))
	t.Send(p[1], "prepare", []byte(name+"\n"+p[2]))
	t.Timer(name, patience, "late", []byte(name))
	return []byte(name), nil
}

// Vote takes an account's answer, as "NAME, CHANGE, ANSWER".
func Vote(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 3)
	if err != nil {
		return nil, err
	}
	name, side := p[0], "to"
	if strings.HasPrefix(p[1], "-") {
		side = "from"
	}
	if state, _ := t.Get("state/" + name); string(state) != "preparing" {
		return nil, nil // it was decided without this vote
	}
	if p[2] != "yes" {
		decide(t, name, "abort", "aborted "+side+": "+p[2])
		return nil, nil
	}
	t.Put("yes/"+name+"/"+side, nil)
	_, from := t.Get("yes/" + name + "/from")
	_, to := t.Get("yes/" + name + "/to")
	if from && to {
		decide(t, name, "commit", "committed")
	}
	return nil, nil
}

// Late is the end of patience.
func Late(t *agent.Turn) ([]byte, error) {
	name := string(t.Payload())
	if state, _ := t.Get("state/" + name); string(state) == "preparing" {
		decide(t, name, "abort", "aborted: not all voted in time")
	}
	return nil, nil
}

// decide ends a transfer: the turn that notes the decision also sends it.
func decide(t *agent.Turn, name, method, state string) {
	parties, _ := t.Get("to/" + name)
	from, to, _ := strings.Cut(string(parties), "\n")
	t.Put("state/"+name, []byte(state))
	t.Send(from, method, []byte(name))
	t.Send(to, method, []byte(name))
	t.StopTimer(name)
	t.Delete("to/" + name)
	t.Delete("yes/" + name + "/from")
	t.Delete("yes/" + name + "/to")
}

// Status says what became of a transfer.
func Status(t *agent.Turn) ([]byte, error) {
	state, ok := t.Get("state/" + string(t.Payload()))
	if !ok {
		return nil, errors.New("there is no such transfer")
	}
	return state, nil
}
