// Workflow signs users up in five steps, each an agent of this module that is bound to a durable topic: it does its part in its
// own state, and sends the sign-up on to the next topic in the same turn. So each step happens once, whichever machine
// dies in between, and none knows where the others live.
//
//	topic            step               what it takes for the user
//	signup/names     names.name         the name
//	signup/accounts  accounts.account   a number
//	signup/licences  licences.licence   one of the licences that there are
//	signup/mails     mails.mail         the address, to which it writes
//	signup/index     index.index        an entry, with the name and the number
//	signup/done      -                  -
//	signup/failed    all, undo          what the step took is given back
//
// A message is a line "ID NAME ADDRESS"; the ID is the sign-up's own, for a name can be asked for twice. A step that cannot go on
// sends "ID STEP WHY" to signup/failed, and by that the steps before it are undone.
//
//	stock N     adds N licences, and replies how many are left
//	show [ID]   replies a line "ID STEP DONE UNDONE THING" for each step that the agent did, of one sign-up or of all
//	status      replies a line "STEP DONE UNDONE" for each step that the agent did: for how many sign-ups, and "twice N" if that
//	            happened more than once for N of them; both only read
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

func main() {}

//go:wasmexport name
func name() int32 { return agent.Run(Name) }

//go:wasmexport account
func account() int32 { return agent.Run(Account) }

//go:wasmexport licence
func licence() int32 { return agent.Run(Licence) }

//go:wasmexport mail
func mail() int32 { return agent.Run(Mail) }

//go:wasmexport index
func index() int32 { return agent.Run(Index) }

//go:wasmexport undo
func undo() int32 { return agent.Run(Undo) }

//go:wasmexport stock
func stock() int32 { return agent.Run(Stock) }

//go:wasmexport show
func show() int32 { return agent.Run(Show) }

//go:wasmexport status
func status() int32 { return agent.Run(Status) }

// What an agent keeps: what a step did, under "did/ID/STEP", as "DONE UNDONE THING"; who has a thing, under "has/STEP/THING"; and
// numbers: of the accounts so far, and of the licences left.

// signup is a user on the way through the steps.
type signup struct{ id, name, address, account string }

// topic is where the messages of a step go: a topic is an agent.
func topic(step string) string { return "topic:signup/" + step }

// step has a step take what it takes for the user, and sends the sign-up on. take returns the thing, or why it is not to be had.
func step(t *agent.Turn, name, next string, take func(s *signup) (thing, why string)) ([]byte, error) {
	f := append(strings.Fields(string(t.Payload())), "")
	if len(f) < 4 || len(f) > 5 || len(t.Payload()) > 600 || strings.Contains(f[0], "/") {
		return nil, errors.New("a sign-up is a line of an ID without /, a name and an address")
	}
	s := &signup{f[0], f[1], f[2], f[3]}
	thing, why := take(s)
	if why != "" {
		t.Send(topic("failed"), "publish", []byte(s.id+" "+name+" "+why))
		return []byte(why), nil
	}
	done, undone, _ := did(t, s.id, name)
	note(t, s.id, name, done+1, undone, thing)
	t.Send(topic(next), "publish", []byte(strings.TrimSpace(s.id+" "+s.name+" "+s.address+" "+s.account)))
	return []byte(thing), nil
}

// did is how often a step was done and undone for a sign-up, and what it took.
func did(t *agent.Turn, id, step string) (done, undone int, thing string) {
	v, _ := t.Get("did/" + id + "/" + step)
	p := append(strings.SplitN(string(v), " ", 3), "", "", "")
	done, _ = strconv.Atoi(p[0])
	undone, _ = strconv.Atoi(p[1])
	return done, undone, p[2]
}

func note(t *agent.Turn, id, step string, done, undone int, thing string) {
	t.Put("did/"+id+"/"+step, []byte(strconv.Itoa(done)+" "+strconv.Itoa(undone)+" "+thing))
}

// claim takes a thing that only one may have.
func claim(t *agent.Turn, step, thing, id string) (string, string) {
	if who, ok := t.Get("has/" + step + "/" + thing); ok && string(who) != id {
		return "", thing + " is taken"
	}
	t.Put("has/"+step+"/"+thing, []byte(id))
	return thing, ""
}

// Name takes the user's name.
func Name(t *agent.Turn) ([]byte, error) {
	return step(t, "name", "accounts", func(s *signup) (string, string) { return claim(t, "name", s.name, s.id) })
}

// Account opens an account. Its number is never used again.
func Account(t *agent.Turn) ([]byte, error) {
	return step(t, "account", "licences", func(s *signup) (string, string) {
		n := t.Int("accounts") + 1
		t.PutInt("accounts", n)
		s.account = strconv.FormatInt(n, 10)
		return claim(t, "account", s.account, s.id)
	})
}

// Licence takes a licence.
func Licence(t *agent.Turn) ([]byte, error) {
	return step(t, "licence", "mails", func(s *signup) (string, string) {
		left := t.Int("left")
		if left < 1 {
			return "", "all licences are sold"
		}
		t.PutInt("left", left-1)
		return "licence", ""
	})
}

// Mail writes to the user, at an address that nobody else has.
func Mail(t *agent.Turn) ([]byte, error) {
	return step(t, "mail", "index", func(s *signup) (thing, why string) {
		if thing, why = claim(t, "mail", s.address, s.id); why == "" {
			t.Log("to " + s.address + ": welcome, " + s.name)
		}
		return thing, why
	})
}

// Index makes the user known.
func Index(t *agent.Turn) ([]byte, error) {
	return step(t, "index", "done", func(s *signup) (string, string) { return claim(t, "index", s.name+":"+s.account, s.id) })
}

// Undo gives back what was taken for a sign-up that failed. What was not done need not be undone.
func Undo(t *agent.Turn) ([]byte, error) {
	id, _, _ := strings.Cut(string(t.Payload()), " ")
	for key := range t.All("did/" + id + "/") {
		step := strings.TrimPrefix(key, "did/"+id+"/")
		done, undone, thing := did(t, id, step)
		note(t, id, step, done, undone+1, thing)
		if undone > 0 {
			continue // it is free already
		}
		t.Delete("has/" + step + "/" + thing)
		switch step {
		case "licence":
			t.PutInt("left", t.Int("left")+1)
		case "mail": // a letter is not taken back, but a second one can be written
			t.Log("to " + thing + ": we are sorry")
		}
	}
	return nil, nil
}

// Stock adds licences.
func Stock(t *agent.Turn) ([]byte, error) {
	n, err := strconv.ParseInt(string(t.Payload()), 10, 32)
	if err != nil || n < 0 {
		return nil, errors.New("the payload is a number of licences")
	}
	t.PutInt("left", t.Int("left")+n)
	return strconv.AppendInt(nil, t.Int("left"), 10), nil
}

// Show says what was done, for one sign-up or for all.
func Show(t *agent.Turn) ([]byte, error) {
	prefix := "did/"
	if id := string(t.Payload()); id != "" {
		prefix += id + "/"
	}
	var out []byte
	for key, v := range t.All(prefix) {
		out = append(out, strings.ReplaceAll(strings.TrimPrefix(key, "did/"), "/", " ")+" "+string(v)+"\n"...)
	}
	return out, nil
}

// Status says for how many sign-ups each step was done.
func Status(t *agent.Turn) ([]byte, error) {
	type sum struct{ done, undone, twice int }
	sums := map[string]sum{}
	for key := range t.All("did/") {
		id, step, _ := strings.Cut(strings.TrimPrefix(key, "did/"), "/")
		done, undone, _ := did(t, id, step)
		s := sums[step]
		s.done++
		if undone > 0 {
			s.undone++
		}
		if done > 1 || undone > 1 {
			s.twice++
		}
		sums[step] = s
	}
	var out []byte
	for _, step := range []string{"name", "account", "licence", "mail", "index"} {
		if s, ok := sums[step]; ok {
			line := step + " " + strconv.Itoa(s.done) + " " + strconv.Itoa(s.undone)
			if s.twice > 0 {
				line += " twice " + strconv.Itoa(s.twice)
			}
			out = append(out, line+"\n"...)
		}
	}
	return out, nil
}
