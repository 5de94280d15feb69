package agenttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Probe is the behaviour that TestBehaviour wants, in Go.
func Probe() Behaviour {
	return Behaviour{
		"empty": plain(func(*shoal.Turn, []string) ([]byte, error) { return nil, nil }),
		"echo":  plain(func(t *shoal.Turn, _ []string) ([]byte, error) { return t.Payload, nil }),
		"big": plain(func(_ *shoal.Turn, a []string) ([]byte, error) {
			n, err := strconv.Atoi(a[0])
			return []byte(strings.Repeat("x", n)), err
		}),
		"fail": plain(func(t *shoal.Turn, _ []string) ([]byte, error) {
			err := errors.Join(t.State.Put([]byte("a"), []byte("1")), t.Out.Send("you", "add", nil), t.Out.Timer("x", 1, "x", nil))
			return nil, errors.Join(err, errors.New(string(t.Payload)))
		}),
		"put": plain(func(t *shoal.Turn, a []string) ([]byte, error) {
			if err := t.State.Put([]byte(a[0]), []byte(a[1])); err != nil {
				return nil, numbered(err)
			}
			v, _, err := t.State.Get([]byte(a[0]))
			return v, err
		}),
		"putlong": plain(func(t *shoal.Turn, a []string) ([]byte, error) {
			k, _ := strconv.Atoi(a[0])
			v, _ := strconv.Atoi(a[1])
			return nil, numbered(t.State.Put([]byte(strings.Repeat("k", k)), []byte(strings.Repeat("v", v))))
		}),
		"get": plain(func(t *shoal.Turn, a []string) ([]byte, error) {
			v, ok, err := t.State.Get([]byte(a[0]))
			if err == nil && !ok {
				err = errors.New("absent")
			}
			return v, err
		}),
		"del":   plain(func(t *shoal.Turn, a []string) ([]byte, error) { return nil, numbered(t.State.Delete([]byte(a[0]))) }),
		"scan":  plain(probeScan),
		"who":   plain(probeWho),
		"dice":  plain(probeDice),
		"ask":   probeAsk,
		"share": plain(probeShare),
		"read":  probeRead, "folder": probeFiles,
		"tell": plain(func(t *shoal.Turn, a []string) ([]byte, error) {
			return nil, numbered(t.Out.Send(a[0], a[1], rest(a, 2)))
		}),
		"alarm": plain(probeAlarm),
		"note":  plain(func(t *shoal.Turn, _ []string) ([]byte, error) { t.Out.Log(string(t.Payload)); return nil, nil }),
		"count": func(_ context.Context, _ *shoal.Turn, memory *any) ([]byte, error) {
			n, _ := (*memory).(int)
			*memory = n + 1
			return []byte(strconv.Itoa(n + 1)), nil
		},
		"trap": plain(func(t *shoal.Turn, _ []string) ([]byte, error) {
			_ = t.State.Put([]byte("a"), []byte("trapped"))
			panic("as asked")
		}),
		"spin": func(ctx context.Context, _ *shoal.Turn, _ *any) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
}

func plain(f func(t *shoal.Turn, args []string) ([]byte, error)) Method {
	return func(_ context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
		return f(t, strings.SplitN(string(t.Payload), " ", 5))
	}
}

func rest(args []string, from int) []byte { return []byte(strings.Join(args[from:], " ")) }

// numbered writes an error as the probe reports one.
func numbered(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("error %d", shoal.KindOf(err))
}

func probeScan(t *shoal.Turn, a []string) ([]byte, error) {
	prefix, after := []byte(strings.Trim(a[0], "-")), []byte(nil)
	if a[1] != "-" {
		after = []byte(a[1])
	}
	limit, _ := strconv.Atoi(a[2])
	pairs, err := t.State.Scan(prefix, after, limit)
	var out []byte
	for _, p := range pairs {
		out = fmt.Appendf(out, "%s=%s;", p.Key, p.Value)
	}
	return out, err
}

func probeWho(t *shoal.Turn, _ []string) ([]byte, error) {
	reading := 0
	if t.Read {
		reading = 1
	}
	return fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n%d\n%d\n%d", hex.EncodeToString([]byte(t.Agent)), t.Caller, t.Request,
		t.Trace, t.Method, t.Epoch, reading, t.Now.UnixNano()), nil
}

func probeDice(t *shoal.Turn, _ []string) ([]byte, error) {
	b := make([]byte, 16)
	_, err := rand.NewChaCha8(sha256.Sum256(t.Seed)).Read(b)
	return b, err
}

func probeAsk(ctx context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
	a := strings.SplitN(string(t.Payload), " ", 3)
	reply, err := t.Out.Call(ctx, a[0], a[1], []byte(a[2]))
	if err != nil {
		return []byte(numbered(err).Error()), nil
	}
	return reply, nil
}

func probeAlarm(t *shoal.Turn, a []string) ([]byte, error) {
	ns, err := strconv.ParseInt(a[1], 10, 64)
	if err != nil {
		return nil, err
	}
	return nil, numbered(t.Out.Timer(a[0], time.Duration(ns), a[2], rest(a, 3)))
}

func probeShare(t *shoal.Turn, a []string) (out []byte, err error) {
	a = append(a, "", "", "", "")
	name, field, x := a[1], strings.Trim(a[2], "-"), a[4]
	kind, _ := strconv.Atoi(a[3])
	n, _ := strconv.Atoi(x)
	value := func(o shoal.SharedObject) string {
		if o.Kind == shoal.SharedRegister {
			return string(o.Text)
		}
		return strconv.FormatInt(o.Number, 10)
	}
	if t.Shared == nil {
		return fmt.Appendf(nil, "error %d", shoal.Refused), nil
	}
	switch a[0] {
	case "get":
		o, ok := t.Shared.Get(name, field, shoal.SharedKind(kind))
		if !ok {
			return fmt.Appendf(nil, "error %d", shoal.NotFound), nil
		}
		return fmt.Appendf(nil, "%d %s", o.Kind, value(o)), nil
	case "has":
		if t.Shared.Has(name, field, x) {
			return []byte("1"), nil
		}
		return []byte("0"), nil
	case "items":
		for list := t.Shared.Items(name, field, "", true, n); len(list) > 0; list = t.Shared.Items(name, field, list[len(list)-1], false, n) {
			out = append(out, strings.Join(list, ";")+";"...)
		}
		return out, nil
	case "fields":
		for list := t.Shared.Fields(name, "", n); len(list) > 0; list = t.Shared.Fields(name, list[len(list)-1].Field, n) {
			for _, o := range list {
				out = fmt.Appendf(out, "%s:%d=%s;", o.Field, o.Kind, value(o))
			}
		}
		return out, nil
	}
	c := shoal.SharedChange{Verb: shoal.SharedVerb(a[0]), Name: name, Field: field, Kind: shoal.SharedKind(kind), Text: []byte(x), Item: x, By: int64(n)}
	if err := numbered(t.Shared.Change(c)); err != nil {
		return []byte(err.Error()), nil
	}
	return nil, nil
}

func probeRead(ctx context.Context, t *shoal.Turn, _ *any) ([]byte, error) {
	a := strings.Split(string(t.Payload), " ")
	offset, _ := strconv.ParseInt(a[2], 10, 64)
	n, _ := strconv.Atoi(a[3])
	switch {
	case t.Data == nil:
		return fmt.Appendf(nil, "error %d", shoal.Refused), nil
	case n > MaxMessage:
		return fmt.Appendf(nil, "error %d", shoal.Invalid), nil
	}
	b := make([]byte, n)
	n, err := t.Data.Read(ctx, a[0], strings.Trim(a[1], "-"), offset, b)
	if err != nil {
		return []byte(numbered(err).Error()), nil
	}
	return b[:n], nil
}

func probeFiles(ctx context.Context, t *shoal.Turn, _ *any) (out []byte, err error) {
	a := strings.Split(string(t.Payload), " ")
	list, err := t.Data.Files(ctx, a[0], strings.Trim(a[1], "-"), strings.Trim(a[2], "-"), 1000)
	if err != nil {
		return []byte(numbered(err).Error()), nil
	}
	for _, f := range list {
		if f.Dir {
			out = fmt.Appendf(out, "%s/;", f.Name)
		} else {
			out = fmt.Appendf(out, "%s=%d;", f.Name, f.Bytes)
		}
	}
	return out, nil
}
