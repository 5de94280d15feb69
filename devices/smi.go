package devices

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// What nvidia-smi is asked for. The name is last: it may contain commas. Older drivers do not know every field, and
// then answer none.
const (
	smiFields    = "uuid,pci.bus_id,driver_version,memory.total,memory.free,temperature.gpu,ecc.errors.uncorrected.volatile.total,retired_pages.pending,name"
	smiOldFields = "uuid,pci.bus_id,driver_version,memory.total,memory.free,temperature.gpu,name"
)

// maxSMI bounds what is read of its output: a line of some hundred bytes for each card.
const maxSMI = 64 << 10

// oneSMI holds the one nvidia-smi that may run.
var oneSMI = make(asked, 1)

// smiCards asks nvidia-smi. Its error has what it complained of.
func smiCards(ctx context.Context) ([]card, error) {
	return oneSMI.ask(ctx, "nvidia-smi", func(ctx context.Context) ([]card, error) {
		cards, text, err := runSMI(ctx, smiFields)
		if err != nil && strings.Contains(text, "not a valid field") {
			cards, _, err = runSMI(ctx, smiOldFields)
		}
		return cards, err
	})
}

func runSMI(ctx context.Context, fields string) (cards []card, text string, err error) {
	tool, err := exec.LookPath("nvidia-smi")
	if err != nil {
		return nil, "", fs.ErrNotExist
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, "--query-gpu="+fields, "--format=csv,noheader,nounits")
	out := &bounded{full: cancel}
	cmd.Stdout, cmd.Stderr = out, out // it complains on either
	cmd.WaitDelay = grace / 2         // children of its own may keep the pipe open
	err = cmd.Run()
	text = out.buf.String()
	cards, complaint := parseSMI(text, strings.Count(fields, ",")+1)
	switch {
	case out.over:
		return nil, "", errors.New("nvidia-smi prints without end")
	case ctx.Err() != nil:
		return cards, text, errors.New("nvidia-smi did not answer in time")
	case strings.Contains(complaint, "couldn't communicate with the NVIDIA driver"): // it is not loaded
		return nil, text, fs.ErrNotExist
	case complaint != "" && !strings.HasPrefix(complaint, "No devices were found"):
		return cards, text, errors.New(complaint)
	case err != nil && len(cards) == 0 && complaint == "":
		return nil, text, fmt.Errorf("nvidia-smi: %w", err)
	}
	return cards, text, nil
}

// bounded keeps the begin of what is written, and calls full when there is more.
type bounded struct {
	buf  bytes.Buffer
	over bool
	full func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxSMI {
		b.over = true
		b.full()
		return 0, errors.New("too much")
	}
	return b.buf.Write(p)
}

// parseSMI reads lines of as many fields as were asked for. Other lines are complaints, of which it keeps those that
// may name a card, and the first.
func parseSMI(text string, fields int) (cards []card, complaint string) {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ",", fields)
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(f) == fields && strings.HasPrefix(f[0], "GPU-") && len(cards) < shoal.MaxGPUs {
			cards = append(cards, smiCard(f))
			continue
		}
		if s := strings.TrimSpace(line); s != "" && (complaint == "" || strings.Contains(s, "device handle")) && len(complaint) < 4096 {
			complaint = strings.TrimPrefix(complaint+"\n"+s, "\n")
		}
	}
	return cards, complaint
}

func smiCard(f []string) card {
	number := func(s string) (uint64, bool) {
		n, err := strconv.ParseUint(s, 10, 40)
		return n, err == nil
	}
	c := card{GPU: shoal.GPU{Vendor: "nvidia", ID: f[0], Driver: f[2], Model: f[len(f)-1]}, bus: strings.ToLower(f[1])}
	total, _ := number(f[3])
	free, ok := number(f[4])
	c.Memory, c.free, c.told = total<<20, free<<20, ok
	heat, _ := number(f[5])
	var errs uint64
	var pending bool
	if len(f) == 9 {
		errs, _ = number(f[6])
		pending = f[7] == "Yes"
	}
	c.Health = ailment(f[3]+" "+f[4]+" "+f[5], errs, pending, heat, tooHot)
	return c
}

// ailment says what is wrong with an NVIDIA card, "" for nothing. said is what its driver wrote in place of numbers: it
// is no fault of a card not to know its temperature ("[N/A]"), and one not to be there any more.
func ailment(said string, errs uint64, pending bool, heat, limit uint64) string {
	for _, bad := range []string{"GPU is lost", "Unknown Error", "requires reset", "ERR!"} {
		if strings.Contains(strings.ToLower(said), strings.ToLower(bad)) {
			return bad
		}
	}
	switch {
	case errs > 0:
		return fmt.Sprintf("%d memory errors that could not be corrected", errs)
	case pending:
		return "bad pages of memory, retired at the next reset"
	case heat >= limit && limit > 0:
		return fmt.Sprintf("too hot: %d °C", heat)
	}
	return ""
}

// procCards reads /proc/driver/nvidia, which tells no memory. The kernel's driver writes it, whatever becomes of the rest.
func procCards(root fs.FS) (out []card) {
	driver := ""
	text, _ := fs.ReadFile(root, "proc/driver/nvidia/version")
	// NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024
	for _, word := range strings.Fields(string(text)) {
		if word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			driver = word
			break
		}
	}
	files, _ := fs.Glob(root, "proc/driver/nvidia/gpus/*/information")
	for _, f := range files {
		c := card{GPU: shoal.GPU{Vendor: "nvidia", Driver: driver}, bus: strings.ToLower(path.Base(path.Dir(f)))}
		text, _ := fs.ReadFile(root, f)
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			switch value = strings.TrimSpace(value); name {
			case "Model":
				c.Model = value
			case "GPU UUID":
				if !strings.Contains(value, "?") { // it knows it once somebody has used the card
					c.ID = value
				}
			}
		}
		if c.Model != "" {
			out = append(out, c)
		}
	}
	return out
}
