package shoal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestErrorReadsWhatWhyTry(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{E(Invalid, "CID 'x'", "not a content identifier", "copy it whole"), "CID 'x': not a content identifier: copy it whole"},
		{E(Refused, "run", "no peer fits", ""), "run: no peer fits"},
		{&Error{Kind: Full}, "full"},
		{&Error{Kind: 200}, "internal"},
		{Wrap(Internal, "put a.txt", errors.New("short read")), "put a.txt: short read"},
		{Wrap(Internal, "ask p", E(Overloaded, "run", "queue full", "try later")), "ask p: run: queue full: try later"},
		{Wrap(Internal, "ask p", context.DeadlineExceeded), "ask p: the deadline passed"},
		{Wrap(Internal, "run", E(Refused, "run", "no peer fits", "ask for less")), "run: no peer fits: ask for less"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if Wrap(Internal, "x", nil) != nil {
		t.Error("wrapping nil made an error")
	}
}

func TestWrapKeepsKindAdviceAndCause(t *testing.T) {
	cause := &Error{Kind: Overloaded, What: "queue", Why: "full", Try: "wait", RetryAfter: time.Second}
	err := Wrap(Internal, "run", fmt.Errorf("attempt 2: %w", cause))
	var e *Error
	if !errors.As(err, &e) || e.Kind != Overloaded || e.Try != "wait" || e.RetryAfter != time.Second || !errors.Is(err, cause) {
		t.Fatalf("got %#v", err)
	}
}

func TestKindOf(t *testing.T) {
	for err, want := range map[error]Kind{
		context.Canceled: Canceled,
		fmt.Errorf("x: %w", context.DeadlineExceeded): Timeout,
		errors.New("x"): Internal,
		fmt.Errorf("x: %w", E(NotFound, "", "", "")): NotFound,
	} {
		if got := KindOf(err); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
	for k, want := range map[Kind]bool{Invalid: false, Refused: false, Failed: false, Canceled: false, Timeout: true, Unavailable: true, Overloaded: true} {
		if got := Retryable(E(k, "", "", "")); got != want {
			t.Errorf("%v: retryable %v, want %v", k, got, want)
		}
	}
}

// The numbers cross the wire: this list may only grow.
func TestKindsAreAppendOnly(t *testing.T) {
	want := []string{
		"internal", "invalid", "not found", "refused", "timeout", "canceled", "unavailable",
		"overloaded", "full", "corrupt", "exists", "failed",
	}
	for i, name := range want {
		if Kind(i).String() != name {
			t.Errorf("kind %d is %q, was %q", i, Kind(i), name)
		}
	}
}

func TestKeys(t *testing.T) {
	seen := map[Key]string{}
	for _, p := range [][2]string{{"gpu", ""}, {"gpu", "nvidia"}, {"gpu/nvidia", ""}, {"label", "zone=a"}, {"label", "zone=b"}, {"task", "t1"}} {
		k := NameKey(p[0], p[1])
		if old, twice := seen[k]; twice {
			t.Errorf("%v and %s share a key", p, old)
		}
		seen[k] = fmt.Sprint(p)
		if k != NameKey(p[0], p[1]) {
			t.Errorf("%v: the key changes", p)
		}
	}
	if c := BlockCID([]byte("a")); DataKey(c) != Key(c.Hash()) || c.String() != "bafkreigks6arfsq3xxfpvqrrwonchxcnu6do76auprhhfomao6c273sixm" {
		t.Errorf("unexpected CID %s", c)
	}
}

func TestParseCID(t *testing.T) {
	c := BlockCID([]byte("a"))
	if got, err := ParseCID(c.String()); err != nil || got != c {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "hello", c.String()[:20], string(make([]byte, 500))} {
		if _, err := ParseCID(s); KindOf(err) != Invalid || len(err.Error()) > 300 {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestShortPeer(t *testing.T) {
	if PeerID("12D3KooWabcdefgh").Short() != "abcdefgh" || PeerID("x").Short() != "x" {
		t.Error("short names are the last eight characters")
	}
}
