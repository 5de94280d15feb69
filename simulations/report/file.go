package report

import (
	"encoding/json"
	"io"
	"os"

	"github.com/shoal-fabric/shoal"
)

// maxResult bounds a file of results.
const maxResult = 1 << 28

// ReadFile reads what 'sim run' wrote as JSON. Invalid: it is something else.
func ReadFile(path string) (*Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, shoal.E(shoal.Invalid, "result "+path, cause(err), "check the path: 'shoal sim run' prints it")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxResult+1))
	if err != nil {
		return nil, shoal.E(shoal.Invalid, "result "+path, cause(err), "check the file")
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil || r.Scenario == "" || len(r.Runs) == 0 || len(b) > maxResult {
		return nil, shoal.E(shoal.Invalid, "result "+path, "it is no result of 'shoal sim run'", "name the JSON file that lies beside the report")
	}
	return &r, nil
}

func cause(err error) string {
	if p, ok := err.(*os.PathError); ok {
		return p.Err.Error()
	}
	return err.Error()
}
