package scenario

import (
	"errors"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

const good = `name: small
duration: 1m
regions: [{name: a, share: 0.25}, {name: b}]
latency: [[1ms, 20ms], [20ms, 2ms]]
classes:
  - {name: big, count: 3, cores: 8, gpus: [{vendor: nvidia, memory: 16GiB}], up: 100Mbit, labels: {zone: x}}
  - {name: tiny, count: 7, session: 2d, nat: true}
data:
  - {name: corpus, bytes: 1.5GB, class: big, replicas: 3}
agents:
  - {name: hits, count: 10, reads: corpus, read_bytes: 4KiB}
topics: [{name: news, durable: true}]
load:
  - {ask: lookup, rate: 5}
  - {ask: lookup, burst: {every: 10s, count: 4}, from: tiny}
  - {ask: task, rate: 1, task: {gas: 1e9, needs: 'labels.zone == "x" && cpus >= 8'}}
  - {ask: find, trace: t.csv}
faults:
  - {kind: kill, at: 20s, share: 0.1}
  - {kind: slow-disk, at: 20s, for: 10s, class: tiny}
policies: [fluid, ship-code]
expect:
  - locality of ship-code >= 0.5
  - lookup_ms_p50 < 0.3s
`

const goodTrace = "seconds,item\n3,0\n1.5,\n"

// parse reads a text, with one trace, t.csv.
func read(text, trace string, o Options) (*Scenario, error) {
	o.Figures = map[string]string{"locality": "", "lookup_ms_p50": "ms", "moved_bytes": "bytes"}
	o.Open = func(name string) (io.ReadCloser, error) {
		if name != "t.csv" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return io.NopCloser(strings.NewReader(trace)), nil
	}
	return Parse("s.yaml", []byte(text), o)
}

func TestParse(t *testing.T) {
	s, err := read(good, goodTrace, Options{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	check("nodes", s.Nodes(), 10)
	check("seeds", s.Seeds, []uint64{1})
	check("policies", s.Policies, []cost.Policy{cost.Fluid, cost.ShipCode})
	check("shares", []float64{s.Regions[0].Share, s.Regions[1].Share}, []float64{0.25, 0.75})
	check("start", s.Start, "warm")
	check("latency", s.Latency[0][1], 20*time.Millisecond)
	check("loss", s.Loss, [][]float64{{0, 0}, {0, 0}})
	check("up", s.Classes[0].Up, Rate(12.5e6))
	check("down", s.Classes[0].Down, Rate(125e6))
	check("disk", s.Classes[0].Disk, Size(100<<30))
	check("sync", s.Classes[1].Sync, time.Millisecond)
	check("session", s.Classes[1].Session, 48*time.Hour)
	check("gpu", s.Classes[0].GPUs[0], GPU{Vendor: "nvidia", Count: 1, Memory: 16 << 30, Rate: 1e11})
	check("bytes", s.Data[0].Bytes, Size(15e8))
	check("partition", s.Data[0].Partition, Size(16<<20))
	check("keepers", s.Agents[0].Replicas, 3)
	check("names", []string{s.Load[0].Name, s.Load[1].Name}, []string{"lookup", "lookup-2"})
	check("end", s.Load[0].End, time.Minute)
	check("on", s.Load[2].On, "corpus")
	check("work", s.Load[2].Work.Code, Size(256<<10))
	check("rows", s.Load[3].Rows, []Row{{1500 * time.Millisecond, -1, -1}, {3 * time.Second, -1, 0}})
	check("fault", []any{s.Faults[0].For, s.Faults[1].Share, s.Faults[1].Factor}, []any{40 * time.Second, 1.0, 10.0})
	check("expect", s.Expect[1].Value, 300.0)
	check("labels", s.Classes[0].Labels, map[string]string{"zone": "x"})
}

// TestBad: each mistake is told with its line, its field and what to do.
func TestBad(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"name: small", "nmae: small", "s.yaml:1: nmae: there is no such field: did you mean name?"},
		{"duration: 1m", "duration: 1", "s.yaml:2: duration: '1' is not a duration: it has no unit: write one like 20ms"},
		{"duration: 1m", "duration: [1m]", "s.yaml:2: duration: it is a list, not a duration"},
		{"duration: 1m\n", "", "s.yaml:1: duration: it is missing: add duration: simulated time"},
		{"duration: 1m", "duration: 1m\nduration: 2m", "s.yaml:3: duration: it is there twice"},
		{"duration: 1m", "duration: 1m\nseeds: []", "s.yaml:3: seeds: it is an empty list"},
		{"duration: 1m", "duration: 1m\nseeds: [1, -2]", "s.yaml:3: seeds[1]: '-2' is not a whole number"},
		{"duration: 1m", "duration: 1m\nstart: cold", "s.yaml:3: start: there is no 'cold': there are warm, bootstrap"},
		{"duration: 1m", "duration: 1m\nmember_table: maybe", "s.yaml:3: member_table: 'maybe' is not true or false"},
		{"duration: 1m", "duration: 1m\njitter: 1.5", "s.yaml:3: jitter: '1.5' is more than 1"},
		{"duration: 1m", "duration: 1m\nloss: [[0, 0], [1.2, 0]]", "s.yaml:3: loss[1][0]: '1.2' is more than 1: write something from 0 to 1"},
		{"duration: 1m", "duration: 1m\nloss: [[0, 0], [.nan, 0]]", "s.yaml:3: loss[1][0]: '.nan' is not a number"},
		{"share: 0.25", "share: 1.25", "s.yaml:3: regions[0].share: '1.25' is more than 1"},
		{"{name: b}", "{name: b, share: 0.5}", "s.yaml:3: regions: their shares add up to 0.75"},
		{"{name: b}", "{name: a}", "s.yaml:3: regions[1].name: another is called 'a'"},
		{"[[1ms, 20ms], [20ms, 2ms]]", "[[1ms, 20ms]]", "s.yaml:4: latency: it has 1 row, not 2: write 2 rows with 2 values each"},
		{"[20ms, 2ms]]", "[20ms]]", "s.yaml:4: latency[1]: it has 1 value, not 2"},
		{"latency: [[1ms, 20ms], [20ms, 2ms]]\n", "", "s.yaml:1: latency: it is missing"},
		{"count: 3", "count: 0", ""},
		{"count: 3", "count: 2.5", "s.yaml:6: classes[0].count: '2.5' is not a whole number"},
		{"count: 3", "count: -1", "s.yaml:6: classes[0].count: '-1' is less than 0"},
		{"count: 3, ", "", "s.yaml:6: classes[0].count: it is missing"},
		{"up: 100Mbit", "up: 100Mbps", "s.yaml:6: classes[0].up: '100Mbps' is not a rate: 'Mbps' is no unit of a rate: write one like 100Mbit"},
		{"memory: 16GiB", "memory: lots", "s.yaml:6: classes[0].gpus[0].memory: 'lots' is not a size"},
		{"cores: 8", "cors: 8", "s.yaml:6: classes[0].cors: there is no such field: did you mean cores?"},
		{"session: 2d", "regions: [c]", "s.yaml:7: classes[1].regions[0]: no region is called 'c'"},
		{"class: big", "class: bog", "s.yaml:9: data[0].class: no class is called 'bog': did you mean big?"},
		{"replicas: 3", "replicas: 4", "s.yaml:9: data[0].replicas: 4 copies cannot lie on 3 nodes"},
		{"replicas: 3", "replicas: 0", "s.yaml:9: data[0].replicas: '0' is less than 1"},
		{"bytes: 1.5GB", "bytes: 150TB", "s.yaml:9: data: all copies take 419095.2 GiB, and the disks hold 300 GiB"},
		{"reads: corpus", "reads: corpse", "s.yaml:11: agents[0].reads: no dataset is called 'corpse': did you mean corpus?"},
		{"reads: corpus, ", "", "s.yaml:11: agents[0].read_bytes: it does not say of which dataset"},
		{"name: hits, ", "name: hits, replicas: 11, ", "s.yaml:11: agents[0].replicas: '11' is more than 9"},
		{"durable: true", "subscribers: 11", "s.yaml:12: topics[0].subscribers: 11 cannot be on 10 nodes"},
		{"ask: lookup, rate: 5", "ask: question, rate: 5", "s.yaml:14: load[0].ask: there is no 'question': there are lookup,"},
		{"ask: lookup, rate: 5", "ask: lookup", "s.yaml:14: load[0]: it does not say how often"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 0", "s.yaml:14: load[0].rate: it is 0"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: -5", "s.yaml:14: load[0].rate: '-5' is less than 0"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 5, trace: t.csv", "s.yaml:14: load[0].trace: it has rate and trace"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 5, end: 2m", "s.yaml:14: load[0].end: it is later than the scenario's duration, 1m0s"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 5, begin: 1m", "s.yaml:14: load[0].begin: it is not before the end"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 5, on: corpus", "s.yaml:14: load[0].on: asking for lookup is about nothing else"},
		{"ask: lookup, rate: 5", "ask: lookup, rate: 5, task: {gas: 1}", "s.yaml:14: load[0].task: it asks for lookup, not for a task"},
		{"ask: lookup, rate: 5", "ask: call, rate: 5, on: hit", "s.yaml:14: load[0].on: nothing in agents is called 'hit': did you mean hits?"},
		{"from: tiny", "from: tinny", "s.yaml:15: load[1].from: no class is called 'tinny'"},
		{"count: 4}", "count: 4, evry: 1s}", "s.yaml:15: load[1].burst.evry: there is no such field: did you mean every?"},
		{"cpus >= 8'", "cpus >='", "s.yaml:16: load[2].task.needs: column 30:"},
		{"cpus >= 8'", "cpus >= 80'", "s.yaml:16: load[2].task.needs: no class can be placed on; of class tiny: "},
		{"gas: 1e9,", "gas: 1e9, gpu: true, ", ""},
		{"trace: t.csv", "trace: u.csv", "s.yaml:17: load[3].trace: it cannot be read: file does not exist"},
		{"kind: kill", "kind: kil", "s.yaml:19: faults[0].kind: there is no 'kil': did you mean kill?"},
		{"at: 20s, share: 0.1", "at: 70s, share: 0.1", "s.yaml:19: faults[0].at: it begins after the scenario's duration, 1m0s"},
		{"for: 10s", "for: 50s", "s.yaml:20: faults[1].for: it ends at 1m10s, after the scenario does, at 1m0s"},
		{"share: 0.1", "share: 0.1, nodes: 2", "s.yaml:19: faults[0].share: it has nodes as well"},
		{"share: 0.1", "nodes: 11", "s.yaml:19: faults[0].nodes: there are only 10 nodes"},
		{"kind: kill", "kind: churn", "s.yaml:19: faults[0].session: it is missing"},
		{"share: 0.1", "step: 5s", "s.yaml:19: faults[0].step: it is of another kind"},
		{"share: 0.1", "factor: 5", "s.yaml:19: faults[0].factor: it is of what is slow"},
		{"share: 0.1", "region: c", "s.yaml:19: faults[0].region: no region is called 'c'"},
		{"[fluid, ship-code]", "[fluid, ship-cod]", "s.yaml:21: policies[1]: 'ship-cod' is not a policy: there are fluid, ship-data and ship-code"},
		{"[fluid, ship-code]", "[ship-code, ship-code]", "s.yaml:21: policies[1]: it is there twice"},
		{"[fluid, ship-code]", "[fluid]", "s.yaml:23: expect[0]: the scenario does not run that policy"},
		{"lookup_ms_p50 <", "lookup_ms <", "s.yaml:24: expect[1]: there is no figure 'lookup_ms'"},
		{"lookup_ms_p50 < 0.3s", "locality < 3GB", "s.yaml:24: expect[1]: its unit is not that of locality"},
		{"lookup_ms_p50 < 0.3s", "lookup_ms_p50 = 3", "s.yaml:24: expect[1]: 'lookup_ms_p50 = 3' is not an expectation"},
		{"labels: {zone: x}", "labels: [zone]", "s.yaml:6: classes[0].labels: it is a list, and has no fields"},
		{"name: small", "name: [small", "s.yaml:"},
		{"name: small", "name: small\n---", "s.yaml:1: it holds more than one document"},
		{good, "", "s.yaml:1: it is empty"},
		{good, "# nothing\n", "s.yaml:1: it is empty"},
		{good, "- 1\n", "s.yaml:1: it is a list, and has no fields: write fields: name"},
		{good, "name: x\nduration: 1s\nclasses: [{name: a, count: 0}]", "s.yaml:3: classes: there are no nodes"},
		{good, "name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\nload: [{ask: find, rate: 1}]", "s.yaml:4: load[0].ask: it asks for find, and the scenario has no data"},
		{good, "name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\nload: [{ask: gpu, rate: 1}]", "s.yaml:4: load[0].ask: it asks for a GPU, and no class has one"},
		{good, "name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\ndata: [{name: d, bytes: 1, replicas: 1}]\nload: [{ask: task, rate: 1, task: {gpu: true}}]", "s.yaml:5: load[0].task.gpu: no class has GPUs"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if text == good {
			t.Fatalf("%q is not in the text", c.from)
		}
		_, err := read(text, goodTrace, Options{})
		switch {
		case c.want == "" && strings.HasPrefix(c.to, "count: 0"):
			if err == nil || !strings.Contains(err.Error(), "cannot lie on 0 nodes") {
				t.Errorf("%s: %v", c.to, err)
			}
		case c.want == "":
			if err != nil {
				t.Errorf("%s: %v", c.to, err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s:\n got  %v\n want %s", c.to, err, c.want)
		case shoal.KindOf(err) != shoal.Invalid:
			t.Errorf("%s: kind %v", c.to, shoal.KindOf(err))
		}
	}
}

func TestTraces(t *testing.T) {
	bad := "seconds,node,item\n1,0,0\nx,0,0\n2,99,0\n3,0,zero\n70,0,0\n4\n5,0,0,0\n6,,\n"
	_, err := read(good, bad, Options{})
	for _, want := range []string{
		"s.yaml:17: load[3].trace: t.csv:3: seconds: 'x' is no number of 0 or more: mend the row, or leave such rows out with --skip-bad",
		"t.csv:4: node: 99 is not from 0 to 9", "t.csv:5: item: 'zero' is no whole number",
		"t.csv:6: seconds: 70 is after the scenario's duration", "t.csv:7: node: it is missing", "t.csv:8: the row: it has 4 columns, not 3",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	s, err := read(good, bad, Options{SkipBad: true})
	if err != nil {
		t.Fatal(err)
	}
	if l := s.Load[3]; l.Skipped != 6 || len(l.Rows) != 2 {
		t.Errorf("%d skipped, %d rows", l.Skipped, len(l.Rows))
	}
	for trace, want := range map[string]string{
		"": "has no header", "seconds,size\n": "there is no column 'size'", "node\n": "the column seconds is missing",
		"seconds\n": "no row that can be used", "seconds\n\"1\n": "it is broken",
	} {
		if _, err := read(good, trace, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", trace, err)
		}
	}
}

// TestMany: ten errors are told at once, and how many more there are.
func TestMany(t *testing.T) {
	text := "name: x\nduration: 1s\n" + strings.Repeat("y: 1\n", 1) + "classes:\n" + strings.Repeat("  - {nam: a}\n", 20)
	_, err := read(text, "", Options{})
	var all Errors
	if !errors.As(err, &all) || len(all) != 11 || !strings.Contains(all[10].Why, "more errors") {
		t.Fatalf("%d: %v", len(all), err)
	}
}

// TestAliases: a file cannot make much of little.
func TestAliases(t *testing.T) {
	text := "name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\nseeds: &a [1]\n"
	if _, err := read(text+"regions: &r [{name: q}]\n", "", Options{}); err != nil {
		t.Fatal(err)
	}
	bomb := "name: x\nduration: 1s\nloss:\n - &a [" + strings.Repeat("0.1,", 1000) + "0.1]\n" + strings.Repeat(" - *a\n", 1000)
	_, err := read(bomb, "", Options{})
	if err == nil || !strings.Contains(err.Error(), "too much of it") {
		t.Fatal(err)
	}
}

func TestOptions(t *testing.T) {
	s, err := read(good, goodTrace, Options{
		Nodes: 1001, Seeds: []uint64{7, 8}, Policies: []cost.Policy{cost.ShipData, cost.ShipCode},
		Set: []Setting{{"data.corpus.replicas", "5"}, {"load.lookup.rate", "9"}, {"agents.hits.replicas", "1"}, {"jitter", "0.5"}, {"faults", "[]"}, {"expect", "[locality > 0]"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Classes[0].Count != 300 || s.Classes[1].Count != 701 || s.Nodes() != 1001 {
		t.Errorf("classes of %d and %d", s.Classes[0].Count, s.Classes[1].Count)
	}
	if len(s.Faults) != 0 || len(s.Expect) != 1 || s.Data[0].Replicas != 5 || s.Load[0].Rate != 9 || s.Agents[0].Replicas != 1 || s.Jitter != 0.5 || len(s.Seeds) != 2 || s.Policies[0] != cost.ShipData {
		t.Errorf("%+v", s)
	}
	for path, want := range map[string]string{
		"data.corpse.replicas": "the scenario has nothing of this name", "data.corpus.copies": "there is no such field", "load.lookup.rate.x": "nothing of this name",
		"data.replicas": "",
	} {
		_, err := read(good, goodTrace, Options{Set: []Setting{{path, "1"}}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[string]Span{"20ms": 20 * time.Millisecond, "1.5h": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "-5s": -5 * time.Second, "0": 0, "0.5d": 12 * time.Hour} {
		if got, err := ParseSpan(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-", "d", "5", "1d2", "--1s", "1d-2h", "1e9d", "s"} {
		if got, err := ParseSpan(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
	for s, want := range map[string]Size{"100": 100, "64MiB": 64 << 20, "1.5GB": 15e8, "2 kB": 2000, "1_000": 1000} {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for s, want := range map[string]Rate{"100Mbit": 12.5e6, "1Gbit/s": 125e6, "10MB": 10e6, "8": 8, "1MiB/s": 1 << 20} {
		if got, err := ParseRate(s); err != nil || got != want {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "MiB", "-1MB", "1e300PB", "1 MbIt", "NaN", "1..2"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("size %q is %v", s, got)
		}
		if got, err := ParseRate(s); err == nil {
			t.Errorf("rate %q is %v", s, got)
		}
	}
}

// FuzzParse: whatever a file holds, Parse ends, and gives either a scenario within its bounds or errors that name the file.
func FuzzParse(f *testing.F) {
	f.Add(good, goodTrace)
	f.Add(good, "seconds,node\n1,2\n\"")
	f.Add("name: x\nduration: 1s\nclasses: [{name: a, count: 1}]\n", "")
	f.Add("a: &a [*a]", "")
	f.Fuzz(func(t *testing.T, text, trace string) {
		s, err := read(text, trace, Options{SkipBad: len(trace)%2 == 0})
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || shoal.KindOf(err) != shoal.Invalid || !strings.HasPrefix(err.Error(), "s.yaml:") {
				t.Fatalf("%v", err)
			}
			return
		}
		n := len(s.Regions)
		if s.Nodes() < 1 || s.Duration <= 0 || len(s.Seeds) == 0 || len(s.Policies) == 0 || len(s.Latency) != n || len(s.Loss) != n {
			t.Fatalf("%+v", s)
		}
		for _, l := range s.Load {
			if l.End <= l.Begin || l.End > s.Duration || l.Rate < 0 {
				t.Fatalf("%+v", l)
			}
		}
	})
}
