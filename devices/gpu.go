package devices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/shoal-fabric/shoal"
)

const (
	patience  = 10 * time.Second // nvidia-smi wakes sleeping cards, one after the other
	maxText   = 80               // bytes of what a driver says of a card: model, version, health
	maxMemory = 1 << 50          // bytes that a card may say it has
	tooHot    = 95               // degrees Celsius, where the card does not say when it slows down
)

// card is a GPU with what is known of it beside.
type card struct {
	shoal.GPU
	bus  string // PCI address in lower case, "" if not known
	free uint64 // bytes of memory
	told bool   // whether free is known
}

// machine is where cards are looked for.
type machine struct {
	root fs.FS
	// nvml and smi list NVIDIA's cards. fs.ErrNotExist says that there is no such tool here. With any other error
	// the cards that still answered are listed, and those that the error names are not well.
	nvml, smi func(ctx context.Context) ([]card, error)
}

// GPUs lists the graphics processors of this machine, those that the operator declared included, and what is free on
// those that tell. A declared one whose ID is that of one that was found says what the operator knows better. Each has
// an ID of its own. The lists are of use also when the error is not nil: it says why they may lack something.
func GPUs(ctx context.Context, declared []shoal.GPU) ([]shoal.GPU, []shoal.GPULoad, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return machine{os.DirFS("/"), nvmlCards, smiCards}.look(ctx, declared)
}

func (m machine) look(ctx context.Context, declared []shoal.GPU) (list []shoal.GPU, load []shoal.GPULoad, err error) {
	cards, err := m.nvidia(ctx)
	have := len(cards) > 0
	for _, c := range drmCards(m.root) {
		if c.Vendor != "nvidia" || !have { // of the sources that may know an NVIDIA card only the best counts
			cards = append(cards, c)
		}
	}
	cards = declare(cards, declared)
	cards = cards[:min(len(cards), shoal.MaxGPUs)]
	taken := map[string]bool{}
	for i, c := range cards {
		c.ID = cmp.Or(Clean(c.ID), c.bus, fmt.Sprintf("%s-%d", Clean(c.Vendor), i))
		for n, id := 2, c.ID; taken[c.ID]; n++ {
			c.ID = fmt.Sprintf("%s#%d", id, n)
		}
		taken[c.ID] = true
		c.Vendor, c.Model, c.Driver, c.Health = Clean(c.Vendor), Clean(c.Model), Clean(c.Driver), Clean(c.Health)
		c.Memory = min(c.Memory, maxMemory)
		list = append(list, c.GPU)
		if c.told {
			load = append(load, shoal.GPULoad{ID: c.ID, Free: min(c.free, maxMemory)})
		}
	}
	return list, load, err
}

// nvidia asks the best source that there is for NVIDIA's cards. Cards of which only the kernel knows, because their
// driver fails, are listed as not well.
func (m machine) nvidia(ctx context.Context) ([]card, error) {
	cards, err := m.nvml(ctx)
	if len(cards) == 0 && err != nil {
		var from error
		if cards, from = m.smi(ctx); !errors.Is(from, fs.ErrNotExist) {
			err = from
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return procCards(m.root), nil
	}
	if err == nil {
		return cards, nil
	}
	all := len(cards) == 0
	for _, p := range procCards(m.root) {
		if p.Health = trouble(err.Error(), p.bus, all); p.Health != "" && !listed(cards, p) {
			cards = append(cards, p)
		}
	}
	return cards, err
}

// trouble returns what a tool's complaint says of the card at bus; all says that it speaks of every card.
func trouble(complaint, bus string, all bool) string {
	for line := range strings.Lines(complaint) {
		if _, about, ok := strings.Cut(strings.ToLower(line), short(bus)+":"); ok && bus != "" {
			return Clean(line[len(line)-len(about):])
		}
	}
	if all {
		first, _, _ := strings.Cut(complaint, "\n")
		return cmp.Or(Clean(first), "its driver fails")
	}
	return ""
}

// short leaves out the domain of a PCI address, which tools write with four digits or eight.
func short(bus string) string {
	if i := strings.IndexByte(bus, ':'); strings.Count(bus, ":") == 2 {
		return bus[i+1:]
	}
	return bus
}

func listed(cards []card, p card) bool {
	for _, c := range cards {
		if c.ID != "" && c.ID == p.ID || c.bus != "" && short(c.bus) == short(p.bus) {
			return true
		}
	}
	return false
}

// declare adds what the operator declared. Its word counts for what it says, and not for health.
func declare(cards []card, declared []shoal.GPU) []card {
	found := len(cards)
next:
	for _, d := range declared {
		if len(cards) > shoal.MaxGPUs {
			break
		}
		for i := range found {
			if c := &cards[i]; d.ID != "" && (d.ID == c.ID || strings.EqualFold(d.ID, c.bus)) {
				c.Vendor, c.Model, c.Memory = cmp.Or(d.Vendor, c.Vendor), cmp.Or(d.Model, c.Model), cmp.Or(d.Memory, c.Memory)
				c.Declared = true
				continue next
			}
		}
		d.Declared, d.Health = true, ""
		cards = append(cards, card{GPU: d})
	}
	return cards
}

// asked are the tools that were asked and have not answered yet: a driver that hangs keeps whoever asks it, even from
// being killed, so one is left behind and no other follows. Two that ask at once take turns.
type asked chan struct{}

// ask calls f, and gives up on it when ctx ends.
func (a asked) ask(ctx context.Context, tool string, f func(context.Context) ([]card, error)) ([]card, error) {
	select {
	case a <- struct{}{}:
	case <-ctx.Done():
		return nil, errors.New(tool + " hangs since it was last asked")
	}
	type answer struct {
		cards []card
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		cards, err := f(ctx)
		<-a // first: whoever has the answer may ask again at once
		got <- answer{cards, err}
	}()
	select {
	case r := <-got:
		return r.cards, r.err
	case <-ctx.Done():
	}
	select { // it may have been killed
	case r := <-got:
		return r.cards, r.err
	case <-time.After(grace):
		return nil, errors.New(tool + " does not answer")
	}
}

// grace is how long a tool may take to die.
const grace = 500 * time.Millisecond

// Clean makes what a driver or a machine says of itself fit to be shown: printable, one blank between words, bounded.
func Clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 4*maxText)], ""))
	s = strings.Join(strings.Fields(s), " ")
	return strings.TrimSpace(strings.ToValidUTF8(s[:min(len(s), maxText)], ""))
}
