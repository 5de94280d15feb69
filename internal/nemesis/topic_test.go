package nemesis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// tale is a history of a topic, written by hand: "+a1 k 7" a1 of key k was taken at 7 ("?": its publisher does not know),
// "=a1" it took effect, "=a1*2" twice, "-a1" it was given up.
func tale(lines ...string) *Topic {
	h := &Topic{}
	for _, line := range lines {
		w := strings.Fields(line[1:])
		id, times, _ := strings.Cut(w[0], "*")
		seq, _ := strconv.ParseUint(id[1:], 10, 64)
		switch line[0] {
		case '+':
			offset, _ := strconv.ParseUint(w[2], 10, 64)
			h.Send(Sent{Publisher: id[:1], Seq: seq, Key: strings.Trim(w[1], "."), Offset: offset})
		case '=':
			n, _ := strconv.Atoi(times)
			h.Effect("p", Effect{Publisher: id[:1], Seq: seq, Count: n})
		case '-':
			h.GiveUp("p", id[:1], seq)
		}
	}
	return h
}

func TestTopicsThatAreRight(t *testing.T) {
	for name, h := range map[string]*Topic{
		"nothing":                              tale(),
		"in order":                             tale("+a1 k 1", "+a2 k 2", "=a1", "=a2"),
		"keys on their own":                    tale("+a1 k 1", "+a2 l 2", "=a2", "=a1"),
		"publishers without keys on their own": tale("+a1 . 1", "+b1 . 2", "=b1", "=a1"),
		"an unknown one may be taken":          tale("+a1 k ?", "+a2 k 2", "=a1", "=a2"),
		"or not":                               tale("+a1 k ?", "+a2 k 2", "=a2"),
		"given up":                             tale("+a1 k 1", "+a2 k 2", "-a1", "=a2"),
		"given up and sent again":              tale("+a1 k 1", "+a2 k 2", "-a1", "=a2", "=a1"),
		"told again, when it was known":        tale("+a1 k ?", "+a1 k 1", "+a1 k ?", "=a1"),
	} {
		if err := h.Check("p"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTopicsThatAreWrong(t *testing.T) {
	for want, list := range map[string][]*Topic{
		"lost":             {tale("+a1 k 1"), tale("+a1 k 1", "+a2 k 2", "=a2"), tale("+a1 k ?", "+a1 k 1")},
		"more than once":   {tale("+a1 k 1", "=a1", "=a1"), tale("+a1 k 1", "=a1*2"), tale("+a1 k ?", "=a1", "=a1"), tale("+a1 k 1", "-a1", "=a1", "=a1")},
		"nobody sent":      {tale("=a1"), tale("+a1 k 1", "=a1", "=b1")},
		"out of order":     {tale("+a1 k 1", "+a2 k 2", "=a2", "=a1"), tale("+a1 k 1", "+b1 k 2", "=b1", "=a1"), tale("+a1 k ?", "+a2 k 2", "=a2", "=a1"), tale("+a1 . 1", "+a2 . 2", "=a2", "=a1")},
		"taken twice":      {tale("+a1 k 1", "+a1 k 2", "=a1")},
		"one offset for":   {tale("+a1 k 1", "+b1 k 1", "=a1", "=b1")},
		"and 990 more":     {many(1000)},
		"p: lost: message": {tale("+a1 k 1")},
	} {
		for i, h := range list {
			if err := h.Check("p"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %d: %v", want, i, err)
			}
		}
	}
	// Each place must have them all.
	h := tale("+a1 k 1", "=a1")
	if err := h.Check("p", "q"); err == nil || !strings.Contains(err.Error(), "q: lost") {
		t.Error(err)
	}
}

// many is a history of messages that were all lost.
func many(n int) *Topic {
	h := &Topic{}
	for i := range n {
		h.Send(Sent{Publisher: fmt.Sprint("p", i), Seq: 1, Offset: uint64(i + 1)})
	}
	return h
}
