package examples

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/services/batch"
)

// TestClassify calls the service's methods in the sandbox, alone and together.
func TestClassify(t *testing.T) {
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	inst, err := behave(t, s, "classify").Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer inst.Close()
	texts := map[string]string{
		"": "clean", "What a fine day.": "clean", "Darn, DARN it: heck!": "dirty 3", "darning is no darnation": "clean",
		strings.Repeat("a fine day, shucks; ", 10_000): "dirty 10000", strings.Repeat("darn", 5000): "clean",
	}
	var payloads [][]byte
	for text, want := range texts {
		payloads = append(payloads, []byte(text))
		got, err := inst.Turn(context.Background(), &shoal.Turn{Method: "classify", Payload: []byte(text), Now: time.Now()})
		if err != nil || string(got) != want {
			t.Errorf("%.40q: %q, %v", text, got, err)
		}
	}
	for range 100 { // its memory does not grow
		got, err := inst.Turn(context.Background(), &shoal.Turn{Method: "handle_batch", Payload: batch.Pack(payloads), Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		answers, err := batch.Unpack(len(payloads), got)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range answers {
			if want := texts[string(payloads[i])]; a.Failed || string(a.Reply) != want {
				t.Fatalf("%.40q: %+v", payloads[i], a)
			}
		}
	}
}
