package topicdurable

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCheck: a log that lacks a message, or has one twice or too early, is told from one that is right.
func TestCheck(t *testing.T) {
	p := newPublishing()
	var mu sync.Mutex
	var log [][]byte
	f, err := p.ring(context.Background(), order{Publishers: 3, Time: 20 * time.Millisecond}, func(_ context.Context, b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, b)
		time.Sleep(100 * time.Microsecond)
		return nil
	})
	if err != nil || f.Calls != len(log) {
		t.Fatalf("%d calls, %d messages, %v", f.Calls, len(log), err)
	}
	check := func(list [][]byte) (int, error) {
		return p.check(func(see func([]byte) error) error {
			for _, b := range list {
				if err := see(b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if n, err := check(log); err != nil || n != len(log) {
		t.Fatalf("%d, %v", n, err)
	}
	short := bytes.Clone(log[0])[:body-1]
	for want, list := range map[string][][]byte{
		"were acknowledged": log[:len(log)-1],
		"comes after 0":     log[3:],
		"comes after":       append(append([][]byte{}, log...), log[0]),
		"a message of":      append([][]byte{short}, log...),
	} {
		if _, err := check(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
