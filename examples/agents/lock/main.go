// Lock is an agent that lends locks for a time. Each loan has a fencing token, larger than all before: what
// the lock guards refuses a smaller one than it has seen, so a holder that was asleep beyond its time does no
// harm. Payloads are lines.
//
//	acquire NAME, HOLDER, MS  replies "token N", or "held HOLDER MS" with the time that is left
//	renew NAME, N, MS         replies "token N", or "lost"
//	release NAME, N           replies "released", or "lost"
//	holder NAME               replies "HOLDER N MS", or "free"; it only reads
package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport acquire
func acquire() int32 { return agent.Run(Acquire) }

//go:wasmexport renew
func renew() int32 { return agent.Run(Renew) }

//go:wasmexport release
func release() int32 { return agent.Run(Release) }

//go:wasmexport holder
func holder() int32 { return agent.Run(Holder) }

const most = 24 * time.Hour

// loan is a lock that is lent.
type loan struct {
	holder string
	token  string
	until  int64 // nanoseconds since 1970
}

// look returns the loan of a lock, if its time is not over.
func look(t *agent.Turn, name string) (l loan, lent bool) {
	entry, ok := t.Get("lock/" + name)
	if !ok {
		return l, false
	}
	part := strings.SplitN(string(entry), " ", 3)
	l.token, l.holder = part[0], part[2]
	l.until, _ = strconv.ParseInt(part[1], 10, 64)
	return l, l.until > now(t)
}

// now is the time, which never goes back for this agent: another machine's clock may be behind.
func now(t *agent.Turn) int64 { return max(t.Now().UnixNano(), t.Int("now")) }

func lend(t *agent.Turn, name string, l loan, d time.Duration) []byte {
	t.PutInt("now", now(t))
	t.Put("lock/"+name, []byte(l.token+" "+strconv.FormatInt(now(t)+int64(d), 10)+" "+l.holder))
	return []byte("token " + l.token)
}

func left(t *agent.Turn, l loan) string {
	return strconv.FormatInt((l.until-now(t)+int64(time.Millisecond)-1)/int64(time.Millisecond), 10)
}

// lines returns the lines of a payload, of which the first is a lock's name.
func lines(t *agent.Turn, n int) ([]string, error) {
	p := strings.SplitN(string(t.Payload()), "\n", n)
	if len(p) != n || p[0] == "" || len(p[0]) > 1000 {
		return nil, errors.New("the payload has " + strconv.Itoa(n) + " lines, and the first is a name")
	}
	return p, nil
}

func period(s string) (time.Duration, error) {
	ms, err := strconv.Atoi(s)
	d := time.Duration(ms) * time.Millisecond
	if err != nil || ms < 1 || ms > int(most/time.Millisecond) {
		return 0, errors.New("the time is 1 to " + strconv.Itoa(int(most/time.Millisecond)) + " ms")
	}
	return d, nil
}

// Acquire lends a lock.
func Acquire(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 3)
	if err != nil {
		return nil, err
	}
	d, err := period(p[2])
	if err != nil {
		return nil, err
	}
	if l, lent := look(t, p[0]); lent {
		return []byte("held " + l.holder + " " + left(t, l)), nil
	}
	token := t.Int("token") + 1
	t.PutInt("token", token)
	return lend(t, p[0], loan{holder: p[1], token: strconv.FormatInt(token, 10)}, d), nil
}

// Renew makes a loan last longer.
func Renew(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 3)
	if err != nil {
		return nil, err
	}
	d, err := period(p[2])
	if err != nil {
		return nil, err
	}
	l, lent := look(t, p[0])
	if !lent || l.token != p[1] {
		return []byte("lost"), nil
	}
	return lend(t, p[0], l, d), nil
}

// Release ends a loan.
func Release(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 2)
	if err != nil {
		return nil, err
	}
	if l, lent := look(t, p[0]); !lent || l.token != p[1] {
		return []byte("lost"), nil
	}
	t.Delete("lock/" + p[0])
	return []byte("released"), nil
}

// Holder says who has a lock.
func Holder(t *agent.Turn) ([]byte, error) {
	p, err := lines(t, 1)
	if err != nil {
		return nil, err
	}
	l, lent := look(t, p[0])
	if !lent {
		return []byte("free"), nil
	}
	return []byte(l.holder + " " + l.token + " " + left(t, l)), nil
}
