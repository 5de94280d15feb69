package scenario

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRows bounds a trace.
const maxRows = 10_000_000

// trace reads the rows of a load. A broken one is an error, or left out and counted.
func (c *checker) trace(path string, l *Load) {
	if c.o.Open == nil {
		c.fail(path, "there are no traces beside a ready scenario", "copy it into a file of yours: 'shoal sim show NAME'")
		return
	}
	f, err := c.o.Open(l.Trace)
	if err != nil {
		c.fail(path, "it cannot be read: "+plain(err), "check the path: it is looked for beside the scenario")
		return
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.FieldsPerRecord, in.TrimLeadingSpace, in.ReuseRecord = -1, true, true
	head, err := in.Read()
	if err != nil {
		c.fail(path, l.Trace+" has no header", "begin it with a line: seconds,node,item")
		return
	}
	column := map[string]int{}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if name != "seconds" && name != "node" && name != "item" {
			c.fail(path, fmt.Sprintf("%s:1: there is no column '%s'", l.Trace, shorten(name)), "there are seconds, node and item")
			return
		}
		column[name] = i
	}
	if _, ok := column["seconds"]; !ok {
		c.fail(path, l.Trace+":1: the column seconds is missing", "begin it with a line: seconds,node,item")
		return
	}
	for {
		rec, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		line, _ := 0, 0
		var bad *csv.ParseError
		switch {
		case errors.As(err, &bad):
			line = bad.Line
		case err != nil:
			c.fail(path, "it cannot be read: "+plain(err), "check the file")
			return
		default:
			line, _ = in.FieldPos(0)
		}
		row, name, why := Row{}, "", ""
		if err != nil {
			name, why = "the row", "it is broken: "+bad.Err.Error()
		} else {
			row, name, why = c.row(rec, column, l)
		}
		switch {
		case why == "" && len(l.Rows) == maxRows:
			c.fail(path, fmt.Sprintf("%s has more than %d rows", l.Trace, maxRows), "leave some out")
			return
		case why == "":
			l.Rows = append(l.Rows, row)
		case c.o.SkipBad:
			l.Skipped++
		default:
			c.fail(path, fmt.Sprintf("%s:%d: %s: %s", l.Trace, line, name, why), "mend the row, or leave such rows out with --skip-bad")
		}
	}
	if len(l.Rows) == 0 && c.errs == nil {
		c.fail(path, l.Trace+" has no row that can be used", "write one at least")
	}
	slices.SortStableFunc(l.Rows, func(a, b Row) int { return int(min(max(a.At-b.At, -1), 1)) })
}

// row reads one row; why is empty if it is sound, and else name is the column that is not.
func (c *checker) row(rec []string, column map[string]int, l *Load) (r Row, name, why string) {
	r = Row{Node: -1, Item: -1}
	for _, name := range []string{"seconds", "node", "item"} {
		i, ok := column[name]
		if !ok {
			continue
		}
		if i >= len(rec) {
			return r, name, "it is missing"
		}
		text := strings.TrimSpace(rec[i])
		if name == "seconds" {
			x, err := strconv.ParseFloat(text, 64)
			if err != nil || math.IsNaN(x) || x < 0 {
				return r, name, "'" + shorten(text) + "' is no number of 0 or more"
			}
			if x > c.s.Duration.Seconds() {
				return r, name, fmt.Sprintf("%s is after the scenario's duration, %v", shorten(text), c.s.Duration)
			}
			r.At = Span(x * float64(time.Second))
			continue
		}
		if text == "" {
			continue
		}
		limit, into := c.s.Nodes(), &r.Node
		if name == "item" {
			limit, into = c.items(l), &r.Item
		}
		x, err := strconv.Atoi(text)
		switch {
		case err != nil:
			return r, name, "'" + shorten(text) + "' is no whole number"
		case x < 0 || x >= limit:
			return r, name, fmt.Sprintf("%d is not from 0 to %d", x, limit-1)
		}
		*into = x
	}
	if len(rec) > len(column) {
		return r, "the row", fmt.Sprintf("it has %d columns, not %d", len(rec), len(column))
	}
	return r, "", ""
}

// items is of how many things a load asks for one.
func (c *checker) items(l *Load) int {
	for _, d := range c.s.Data {
		if (l.Ask == Find || l.Ask == Task) && d.Name == l.On {
			return d.Count
		}
	}
	for _, a := range c.s.Agents {
		if (l.Ask == Call || l.Ask == Read) && a.Name == l.On {
			return a.Count
		}
	}
	for _, t := range c.s.Topics {
		if l.Ask == Publish && t.Name == l.On {
			return t.Count
		}
	}
	return math.MaxInt32
}

// plain is an error without the path, which is named already.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
