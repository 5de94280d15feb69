package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// results is the report, with a section for each benchmark.
const results = "RESULTS.md"

// all runs every benchmark and writes RESULTS.md. One that fails does not keep the others from running.
func all(ctx context.Context, o rig.Options, out string, asJSON bool) error {
	if out == "" {
		out = "samples"
	}
	var md bytes.Buffer
	var errs []error
	fmt.Fprintf(&md, `# Results

Made by `+"`cd bench && go run . all --seed %d`"+`; the raw samples are in `+"`%s/`"+`, and a test recomputes every ratio here from
them. Ratios are ours over theirs, the median of the rounds' ratios; "missed" means that the target of the design is not reached.

`, o.Seed, out)
	for i, b := range benches() {
		res, err := measure(ctx, b, o, out)
		if err != nil {
			errs = append(errs, err)
			fmt.Fprintf(&md, "\n## %s\n\nIt did not run: %v\n", b.Name, err)
			fmt.Fprintln(os.Stderr, "bench:", err)
			continue
		}
		if i == 0 {
			res.Machine.WriteMachine(&md)
		}
		res.WriteMarkdown(&md, b)
		if err := show(os.Stdout, b, res, asJSON); err != nil {
			return err
		}
	}
	errs = append(errs, os.WriteFile(results, md.Bytes(), 0o644))
	return errors.Join(errs...)
}

// renew writes the section of one benchmark anew, and leaves the others as they are.
func renew(b *rig.Bench, res *rig.Result) error {
	text, err := os.ReadFile(results)
	if err != nil {
		return err
	}
	return os.WriteFile(results, replaceSection(text, b, res), 0o644)
}

func replaceSection(text []byte, b *rig.Bench, res *rig.Result) []byte {
	var section bytes.Buffer
	res.WriteMarkdown(&section, b)
	before, rest, found := bytes.Cut(text, []byte("\n## "+b.Name+"\n"))
	if !found {
		return append(text, section.Bytes()...)
	}
	if i := bytes.Index(rest, []byte("\n## ")); i >= 0 {
		section.Write(rest[i:])
	}
	return append(bytes.Clone(before), section.Bytes()...)
}
