package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/shoal-fabric/shoal/api"
)

// shell is what verbs share: streams, and the flags every verb has.
type shell struct {
	in        io.Reader
	out, errs io.Writer
	dir       string
	remote    string
	json      bool
	timeout   time.Duration
	cancel    context.CancelFunc
}

// client returns a client of the node that --dir or --node names.
func (s *shell) client() *api.Client {
	if s.remote != "" {
		return api.NewRemoteClient(s.remote, os.Getenv("SHOAL_TOKEN"))
	}
	return api.NewClient(s.dir)
}

// print writes v as one line of JSON.
func (s *shell) print(v any) error {
	return json.NewEncoder(s.out).Encode(v)
}

// show prints v as JSON when asked to, and else calls text.
func (s *shell) show(v any, text func()) error {
	if s.json {
		return s.print(v)
	}
	text()
	return nil
}

// patience is how many seconds a node may wait for a program's reply, 0: as long as it does by itself. With --timeout it gives up a little
// earlier than the caller, as it can say why.
func (s *shell) patience() float64 {
	return max(s.timeout/2, s.timeout-time.Second/2, 0).Seconds()
}

// reply prints the bytes that a program replied as they are, or, with --json, the answer that has them.
func (s *shell) reply(v any, b []byte) error {
	if s.json {
		return s.print(v)
	}
	_, err := s.out.Write(b)
	if n := len(b); err == nil && n > 0 && b[n-1] != '\n' && onTerminal(s.out) {
		s.printf("\n")
	}
	return err
}

func (s *shell) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// note writes a line for people to the error stream; scripts that read --json see none.
func (s *shell) note(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.errs, format+"\n", args...)
	}
}

// table prints rows under headers, in columns.
func (s *shell) table(header string, rows [][]string) {
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush()
}

func (s *shell) lines(n int, at func(int) any) error {
	for i := range n {
		if err := s.print(at(i)); err != nil {
			return err
		}
	}
	return nil
}

// onTerminal reports whether w is a terminal.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// defaultDir follows the convention of the operating system for a program's data.
func defaultDir() string {
	if d := os.Getenv("SHOAL_DIR"); d != "" {
		return d
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "shoal-data"
	}
	switch runtime.GOOS {
	case "windows":
		if d := os.Getenv("LocalAppData"); d != "" {
			return filepath.Join(d, "shoal")
		}
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", "shoal")
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "shoal")
	}
	return filepath.Join(home, ".local", "share", "shoal")
}

// size formats a number of bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v, i = v/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}

// count writes a large number with its thousands apart.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// counted says how many: "1 dataset", "3 datasets".
func counted(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// ago formats an age in seconds for people.
func ago(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%dh", int(d.Hours()))
}

// ranges writes ascending numbers as "0-3,7".
func ranges(n []int) string {
	var b strings.Builder
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		if fmt.Fprintf(&b, "%d", n[i]); j > i {
			fmt.Fprintf(&b, "-%d", n[j])
		}
		i = j + 1
	}
	return b.String()
}
