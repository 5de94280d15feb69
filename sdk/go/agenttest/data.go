package agenttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

// AddFile gives the fabric a file of a dataset. path is "" for a dataset that is one file.
func (f *Fabric) AddFile(dataset, path string, content []byte) {
	if f.files == nil {
		f.files = map[string][]byte{}
	}
	f.files[strings.TrimSuffix(dataset+"/"+path, "/")] = slices.Clone(content)
}

// Read implements agent.Data.
func (t *turn) Read(dataset, path string, offset int64, b []byte) (int, error) {
	at := strings.TrimSuffix(dataset+"/"+strings.Trim(path, "/"), "/")
	all, ok := t.f.files[at]
	if err := bounded("buffer", len(b), 0, maxValue); err != nil {
		return 0, err
	}
	switch {
	case !ok && len(t.f.under(at)) > 0:
		return 0, &agent.Error{Kind: agent.Invalid, Text: at + ": it is a folder"}
	case !ok:
		return 0, &agent.Error{Kind: agent.NotFound, Text: at + ": there is no such file"}
	case offset < 0 || offset > int64(len(all)):
		return 0, &agent.Error{Kind: agent.Invalid, Text: fmt.Sprintf("%s: offset %d of %d bytes", at, offset, len(all))}
	}
	return copy(b, all[offset:]), nil
}

// Files implements agent.Data, some at a time.
func (t *turn) Files(dataset, path, after string) ([]agent.Entry, error) {
	at := strings.TrimSuffix(dataset+"/"+strings.Trim(path, "/"), "/")
	found := t.f.under(at)
	if all, ok := t.f.files[at]; ok {
		return []agent.Entry{{Bytes: int64(len(all))}}, nil
	}
	if len(found) == 0 {
		return nil, &agent.Error{Kind: agent.NotFound, Text: at + ": there is no such folder"}
	}
	var out []agent.Entry
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if name > after && len(out) < pageOfFiles {
			out = append(out, found[name])
		}
	}
	return out, nil
}

// pageOfFiles is few, so that tests come to the second page.
const pageOfFiles = 2

// under is what lies in a folder.
func (f *Fabric) under(folder string) map[string]agent.Entry {
	found := map[string]agent.Entry{}
	for k, all := range f.files {
		if rest, in := strings.CutPrefix(k, folder+"/"); in {
			name, _, dir := strings.Cut(rest, "/")
			e := agent.Entry{Name: name, Dir: dir}
			if !dir {
				e.Bytes = int64(len(all))
			}
			found[name] = e
		}
	}
	return found
}
