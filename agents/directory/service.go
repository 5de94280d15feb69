package directory

import (
	"bytes"
	"fmt"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Services is what the keys begin with, in a directory's own state, that list the names that are services'.
const Services = "s/"

func serviceKey(name string) []byte { return []byte(Services + name) }

// define gives a free name to a service.
func define(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := get(t, q.Name)
	if err != nil {
		return nil, err
	}
	if len(q.Key) == 0 || len(q.Key) > 128 || len(q.Spec) == 0 || len(q.Spec) > MaxSpec {
		return nil, shoal.E(shoal.Invalid, "service "+q.Name, fmt.Sprintf("no key, or what it is takes none or more than %d bytes", MaxSpec), "say it shorter")
	}
	if e != nil {
		return wire.Marshal(e), nil
	}
	e = &Entry{Name: q.Name, Key: bytes.Clone(q.Key), Spec: bytes.Clone(q.Spec), Service: true, At: t.Now.UnixMilli()}
	// Here too, so that they are found among many names, and by a keeper in its own copy.
	if err := t.State.Put(serviceKey(q.Name), wire.Marshal(e)); err != nil {
		return nil, err
	}
	return put(t, e)
}

func services(t *shoal.Turn, q *Question) ([]byte, error) {
	// As many as surely fit into one answer.
	const most = 32
	if q.Limit <= 0 || q.Limit > most {
		q.Limit = most
	}
	var from []byte
	if q.After != "" {
		from = serviceKey(q.After)
	}
	pairs, err := t.State.Scan(serviceKey(""), from, q.Limit)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, len(pairs))
	for i, p := range pairs {
		if err := wire.Unmarshal("entry of a directory", p.Value, &out[i]); err != nil {
			return nil, &shoal.Error{Kind: shoal.Corrupt, What: "directory", Why: err.Error(), Err: err}
		}
	}
	return wire.Marshal(out), nil
}

// lookup is find for those who must tell that there is no such name from a directory that cannot be asked.
func lookup(t *shoal.Turn, q *Question) ([]byte, error) {
	e, err := get(t, q.Name)
	if err != nil {
		return nil, err
	}
	if e == nil {
		e = &Entry{}
	}
	return wire.Marshal(e), nil
}
