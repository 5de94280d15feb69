package plans

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// countWords is a mapper: the words of all files under /data, into /out/counts.
func countWords(_ context.Context, r shoal.Run) (int, error) {
	words := map[string]int{}
	err := fs.WalkDir(r.Data, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(r.Data, name)
		for _, w := range strings.Fields(string(b)) {
			words[w]++
		}
		return err
	})
	if err != nil {
		return 1, err
	}
	return 0, writeCounts(r, words)
}

// sumWords is a reducer.
func sumWords(_ context.Context, r shoal.Run) (int, error) {
	words := map[string]int{}
	names, err := fs.Glob(r.Data, "*/counts")
	if err != nil {
		return 1, err
	}
	for _, name := range names {
		b, err := fs.ReadFile(r.Data, name)
		if err != nil {
			return 1, err
		}
		for line := range strings.Lines(string(b)) {
			var w string
			var n int
			if _, err := fmt.Sscan(line, &w, &n); err != nil {
				return 1, err
			}
			words[w] += n
		}
	}
	fmt.Fprintln(r.Stdout, len(names), "parts")
	return 0, writeCounts(r, words)
}

func writeCounts(r shoal.Run, words map[string]int) error {
	return os.WriteFile(filepath.Join(r.Out, "counts"), []byte(render(words)), 0o600)
}

func render(words map[string]int) string {
	var b strings.Builder
	for _, w := range slices.Sorted(maps.Keys(words)) {
		fmt.Fprintln(&b, w, words[w])
	}
	return b.String()
}
