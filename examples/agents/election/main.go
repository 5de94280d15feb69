// Election is the bully algorithm (Garcia-Molina 1982): each member is an agent with a number, and of those
// that can be reached the one with the highest leads. Who sees no leader asks all with higher numbers; if one
// answers, that one goes on; if none does, it leads, and says so to all.
//
//	setup SELF, then "NUMBER AGENT" for each member: makes the agent the member SELF and begins
//	leader      replies the number of the leader, or "none"; it only reads
//	rounds      replies how many elections this member has begun; it only reads
//
// The others are messages and timers: elect, answer and lead, ping and pong.
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport setup
func setup() int32 { return agent.Run(Setup) }

//go:wasmexport leader
func leader() int32 { return agent.Run(Leader) }

//go:wasmexport rounds
func rounds() int32 { return agent.Run(Rounds) }

//go:wasmexport elect
func elect() int32 { return agent.Run(Elect) }

//go:wasmexport answer
func answer() int32 { return agent.Run(Answer) }

//go:wasmexport lead
func lead() int32 { return agent.Run(Lead) }

//go:wasmexport ping
func ping() int32 { return agent.Run(Ping) }

//go:wasmexport pong
func pong() int32 { return agent.Run(Pong) }

//go:wasmexport unanswered
func unanswered() int32 { return agent.Run(Unanswered) }

//go:wasmexport watch
func watch() int32 { return agent.Run(Watch) }

//go:wasmexport silent
func silent() int32 { return agent.Run(Silent) }

// How long a member waits: for an answer, for the one that answered to lead, between two pings, and for a pong.
const (
	answerTime = time.Second
	leadTime   = 3 * time.Second
	pingTime   = 2 * time.Second
	pongTime   = time.Second
)

// members yields the agent of each member by number.
func members(t *agent.Turn) map[int64]string {
	out := map[int64]string{}
	for key, who := range t.All("member/") {
		n, _ := strconv.ParseInt(strings.TrimPrefix(key, "member/"), 10, 64)
		out[n] = string(who)
	}
	return out
}

// tell sends to the members that fit, with the sender's number.
func tell(t *agent.Turn, method string, fits func(n int64) bool) {
	for key, who := range t.All("member/") {
		if n, _ := strconv.ParseInt(strings.TrimPrefix(key, "member/"), 10, 64); fits(n) {
			t.Send(string(who), method, self(t))
		}
	}
}

func self(t *agent.Turn) []byte { return strconv.AppendInt(nil, t.Int("self"), 10) }

// sender is the number that a message brings, if it is a member's.
func sender(t *agent.Turn) (n int64, who string, err error) {
	n, err = strconv.ParseInt(string(t.Payload()), 10, 64)
	if who = members(t)[n]; err != nil || who == "" {
		return 0, "", errors.New("the sender is no member")
	}
	return n, who, nil
}

// Setup makes the agent a member.
func Setup(t *agent.Turn) ([]byte, error) {
	first, rest, _ := strings.Cut(string(t.Payload()), "\n")
	me, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return nil, errors.New("the first line is this member's number")
	}
	found := false
	for _, line := range strings.Split(strings.TrimSpace(rest), "\n") {
		number, who, ok := strings.Cut(line, " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || !ok || who == "" {
			return nil, errors.New("each line but the first is a number and an agent")
		}
		found = found || n == me
		t.Put("member/"+strconv.FormatInt(n, 10), []byte(who))
	}
	if !found {
		return nil, errors.New("this member's number is not among them")
	}
	t.PutInt("self", me)
	begin(t)
	return nil, nil
}

// begin begins an election, unless one is under way.
func begin(t *agent.Turn) {
	if _, electing := t.Get("electing"); electing {
		return
	}
	t.Put("electing", nil)
	t.Delete("leader")
	t.StopTimer("watch")
	t.StopTimer("silent")
	t.PutInt("rounds", t.Int("rounds")+1)
	me := t.Int("self")
	tell(t, "elect", func(n int64) bool { return n > me })
	t.Timer("elect", answerTime, "unanswered", nil)
}

// Elect is a lower member's question: this one lives, and takes over.
func Elect(t *agent.Turn) ([]byte, error) {
	_, who, err := sender(t)
	if err != nil {
		return nil, err
	}
	t.Send(who, "answer", self(t))
	begin(t)
	return nil, nil
}

// Answer is a higher member's: it will lead, or somebody above it. If nobody does in time, all begins again.
func Answer(t *agent.Turn) ([]byte, error) {
	if _, electing := t.Get("electing"); electing {
		t.Put("electing", []byte("answered"))
		t.Timer("elect", leadTime, "unanswered", nil)
	}
	return nil, nil
}

// Unanswered is the end of a wait: nobody higher lives, so this member leads; or the one that answered is gone.
func Unanswered(t *agent.Turn) ([]byte, error) {
	how, electing := t.Get("electing")
	if !electing {
		return nil, nil
	}
	t.Delete("electing")
	if len(how) > 0 {
		begin(t)
		return nil, nil
	}
	me := t.Int("self")
	follow(t, me)
	tell(t, "lead", func(n int64) bool { return n != me })
	return nil, nil
}

// follow takes a member for the leader, and watches it.
func follow(t *agent.Turn, n int64) {
	t.PutInt("leader", n)
	t.Delete("electing")
	t.StopTimer("elect")
	t.StopTimer("silent")
	if n != t.Int("self") {
		t.Timer("watch", pingTime, "watch", nil)
	}
}

// Lead is a member's word that it leads. A lower one than this member is not followed.
func Lead(t *agent.Turn) ([]byte, error) {
	n, _, err := sender(t)
	if err != nil {
		return nil, err
	}
	if n < t.Int("self") {
		begin(t)
		return nil, nil
	}
	follow(t, n)
	return nil, nil
}

// Watch asks the leader for a sign of life.
func Watch(t *agent.Turn) ([]byte, error) {
	n := t.Int("leader")
	if n == 0 || n == t.Int("self") {
		return nil, nil
	}
	t.Send(members(t)[n], "ping", self(t))
	t.Timer("silent", pongTime, "silent", nil)
	return nil, nil
}

// Ping is a member's question whether this one leads.
func Ping(t *agent.Turn) ([]byte, error) {
	_, who, err := sender(t)
	if err != nil {
		return nil, err
	}
	if t.Int("leader") == t.Int("self") {
		t.Send(who, "pong", self(t))
	}
	return nil, nil
}

// Pong is the leader's sign of life.
func Pong(t *agent.Turn) ([]byte, error) {
	n, _, err := sender(t)
	if err == nil && n == t.Int("leader") {
		t.StopTimer("silent")
		t.Timer("watch", pingTime, "watch", nil)
	}
	return nil, err
}

// Silent is the leader's silence.
func Silent(t *agent.Turn) ([]byte, error) {
	begin(t)
	return nil, nil
}

// Leader says who leads.
func Leader(t *agent.Turn) ([]byte, error) {
	if n, ok := t.Get("leader"); ok {
		return n, nil
	}
	return []byte("none"), nil
}

// Rounds says how many elections this member has begun.
func Rounds(t *agent.Turn) ([]byte, error) { return strconv.AppendInt(nil, t.Int("rounds"), 10), nil }
