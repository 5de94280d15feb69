package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/services/batch"
)

// redisMissing says why there is nothing to compare with, or "".
func redisMissing() string {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return "there is no redis-server here: install it (Debian: apt-get install redis-server), and the ratio to it is measured too"
	}
	return ""
}

// redisServer runs a server that keeps nothing on disk, and says where it listens.
func redisServer(ctx context.Context, dir string) (*rig.Worker, error) {
	at, err := freePort()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(at)
	cmd := exec.Command("redis-server", "--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for range 200 {
		if c, err := net.Dial("tcp", at); err == nil {
			c.Close()
			return &rig.Worker{Ready: at, Close: end}, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	end()
	return nil, errors.New("redis-server does not come up")
}

// redis is a connection. Its protocol is RESP 2, of which this is what lists take.
type redis struct {
	c   net.Conn
	in  *bufio.Reader
	out []byte
}

func dialRedis(at string) (*redis, error) {
	c, err := net.Dial("tcp", at)
	if err != nil {
		return nil, err
	}
	return &redis{c: c, in: bufio.NewReaderSize(c, 64<<10)}, nil
}

// do sends one command and returns the texts of its reply; none for nil.
func (r *redis) do(args ...string) ([]string, error) {
	b := fmt.Appendf(r.out[:0], "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n", len(a))
		b = append(append(b, a...), '\r', '\n')
	}
	r.out = b
	if _, err := r.c.Write(b); err != nil {
		return nil, err
	}
	return r.reply()
}

func (r *redis) reply() ([]string, error) {
	line, err := r.in.ReadString('\n')
	if err != nil || len(line) < 3 {
		return nil, errors.Join(err, errors.New("no reply"))
	}
	kind, text := line[0], line[1:len(line)-2]
	n, _ := strconv.Atoi(text)
	switch kind {
	case ':', '+':
		return []string{text}, nil
	case '-':
		return nil, errors.New(text)
	case '$':
		if n < 0 {
			return nil, nil
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(r.in, b)
		return []string{string(b[:n])}, err
	case '*':
		var out []string
		for range max(0, n) {
			one, err := r.reply()
			if err != nil {
				return nil, err
			}
			out = append(out, one...)
		}
		return out, nil
	}
	return nil, fmt.Errorf("reply %q", line)
}

// take waits for a first entry of a list, and takes up to most.
func (r *redis) take(list string, most int) ([]string, error) {
	first, err := r.do("BLPOP", list, "0")
	if err != nil || len(first) != 2 {
		return nil, errors.Join(err, fmt.Errorf("BLPOP gave %d texts", len(first)))
	}
	if most == 1 {
		return first[1:], nil
	}
	rest, err := r.do("LPOP", list, strconv.Itoa(most-1))
	return append(first[1:], rest...), err
}

// redisWorker takes messages from one list, and puts answers on another.
func redisWorker(ctx context.Context, at string) (*rig.Worker, error) {
	inst, end, err := open(ctx)
	if err != nil {
		return nil, err
	}
	r, err := dialRedis(at)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			texts, err := r.take("calls", batchOf)
			if err != nil {
				return // closed
			}
			payloads := make([][]byte, len(texts))
			for i := range texts {
				payloads[i] = []byte(texts[i])
			}
			say := []string{"RPUSH", "answers"}
			got, err := inst.Turn(ctx, &shoal.Turn{Method: "handle_batch", Payload: batch.Pack(payloads), Now: time.Now()})
			if err == nil {
				var list []batch.Answer
				list, err = batch.Unpack(len(payloads), got)
				for _, a := range list {
					say = append(say, string(a.Reply))
				}
			}
			if err != nil {
				say = append(say, err.Error())
			}
			if _, err := r.do(say...); err != nil {
				return
			}
		}
	}()
	return &rig.Worker{Close: func() { r.c.Close(); end() }}, nil
}

// redisClient puts batches on a list, and waits for the answers on another.
func redisClient(_ context.Context, at string) (*rig.Worker, error) {
	r, err := dialRedis(at)
	if err != nil {
		return nil, err
	}
	batches := func(ctx context.Context, o order) (rig.Figures, error) {
		return laps(ctx, o, func(_ context.Context, list []message) error {
			say := []string{"RPUSH", "calls"}
			for _, m := range list {
				say = append(say, m.Text)
			}
			if _, err := r.do(say...); err != nil {
				return err
			}
			var got []string
			for len(got) < len(list) {
				more, err := r.take("answers", len(list)-len(got))
				if err != nil {
					return err
				}
				got = append(got, more...)
			}
			for i, m := range list {
				if got[i] != m.Want {
					return fmt.Errorf("%q, not %q", got[i], m.Want)
				}
			}
			return nil
		})
	}
	return &rig.Worker{
		Close: func() { r.c.Close() },
		Do:    map[string]func(context.Context, json.RawMessage) (any, error){"batches": rig.Verb(batches)},
	}, nil
}
