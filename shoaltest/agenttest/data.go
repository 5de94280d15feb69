package agenttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Data is datasets in memory, the content of each file under "DATASET/PATH", or "DATASET" for one that is a file alone.
type Data map[string]string

var _ shoal.Data = Data{}

func (d Data) know(dataset string) bool {
	for k := range d {
		if k == dataset || strings.HasPrefix(k, dataset+"/") {
			return true
		}
	}
	return false
}

// at is a name in a dataset that there is, without a trailing slash.
func (d Data) at(dataset, path string) (string, error) {
	what := "read " + dataset
	if !d.know(dataset) || dataset == "" {
		return "", shoal.E(shoal.NotFound, what, "nobody has it", "")
	}
	if strings.Contains("/"+path+"/", "/../") {
		return "", shoal.E(shoal.Invalid, what, "the path leads out of it", "")
	}
	return strings.TrimSuffix(dataset+"/"+strings.Trim(path, "/"), "/"), nil
}

// Read implements shoal.Data.
func (d Data) Read(ctx context.Context, dataset, path string, offset int64, b []byte) (int, error) {
	at, err := d.at(dataset, path)
	if err != nil {
		return 0, err
	}
	all, ok := d[at]
	switch {
	case !ok && d.know(at):
		return 0, shoal.E(shoal.Invalid, "read "+at, "it is a folder", "")
	case !ok:
		return 0, shoal.E(shoal.NotFound, "read "+at, "there is no such file", "")
	case offset < 0 || offset > int64(len(all)):
		return 0, shoal.E(shoal.Invalid, "read "+at, fmt.Sprintf("offset %d of %d bytes", offset, len(all)), "")
	}
	return copy(b, all[offset:]), ctx.Err()
}

// Files implements shoal.Data.
func (d Data) Files(ctx context.Context, dataset, path, after string, limit int) ([]shoal.File, error) {
	at, err := d.at(dataset, path)
	if err != nil {
		return nil, err
	}
	found := map[string]shoal.File{}
	if all, ok := d[at]; ok {
		return []shoal.File{{Bytes: uint64(len(all))}}, ctx.Err()
	}
	for k, all := range d {
		if rest, in := strings.CutPrefix(k, at+"/"); in {
			name, _, dir := strings.Cut(rest, "/")
			f := shoal.File{Name: name, Dir: dir}
			if !dir {
				f.Bytes = uint64(len(all))
			}
			found[name] = f
		}
	}
	if len(found) == 0 {
		return nil, shoal.E(shoal.NotFound, "list "+at, "there is no such folder", "")
	}
	var out []shoal.File
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if name > after && len(out) < limit {
			out = append(out, found[name])
		}
	}
	return out, ctx.Err()
}
