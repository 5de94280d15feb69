package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

func simCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Simulate clusters on this machine, before there are any",
		Long: `Sim runs scenarios: so many machines of these kinds, with these links, data, load and failures. It needs no running
node. A scenario is a YAML file, or one that is ready: 'shoal sim ls' lists them, 'shoal sim show NAME' prints one to begin
with. The model simulates up to a million nodes, by events, with the decisions that real nodes take; the same seed gives the
same run, to the byte. '--storey world' runs complete nodes instead, up to a thousand or so, in virtual time; '--storey both' tells how far
the model is from them.`,
		Example: "  shoal sim run lan-5\n  shoal sim run planet-1m --nodes 1e5\n  shoal sim show lan-5 > mine.yaml && shoal sim run mine.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(simRunCmd(s), simSweepCmd(s), simCompareCmd(s), simReplayCmd(s), simLsCmd(s), simShowCmd(s))
	return cmd
}

// simFlags are those that say what to simulate.
type simFlags struct {
	storey, nodes, out string
	seeds              []uint
	policies, set      []string
	skipBad            bool
}

func (f *simFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.nodes, "nodes", "", "so many nodes in all, the classes in proportion (1000, 1e6)")
	fs.UintSliceVar(&f.seeds, "seed", nil, "in place of the scenario's seeds")
	fs.StringSliceVar(&f.policies, "policy", nil, "in place of the scenario's policies: fluid, ship-data, ship-code")
	fs.StringArrayVar(&f.set, "set", nil, "put a value in place of the file's: PATH=VALUE, as data.NAME.replicas=3 or load.NAME.rate=10")
	fs.StringVar(&f.out, "out", "sim-out", "folder for the report")
	fs.BoolVar(&f.skipBad, "skip-bad", false, "leave out broken rows of traces, and count them")
	fs.StringVar(&f.storey, "storey", report.Model, "what to run: "+strings.Join(simulations.Storeys(), ", "))
	if len(simulations.Storeys()) == 1 {
		_ = fs.MarkHidden("storey")
	}
}

// options turns flags into what the scenario is read with.
func (f *simFlags) options() (o scenario.Options, err error) {
	o.SkipBad = f.skipBad
	if f.nodes != "" {
		if o.Nodes, err = simulations.ParseNodes(f.nodes); err != nil {
			return o, err
		}
	}
	for _, x := range f.seeds {
		o.Seeds = append(o.Seeds, uint64(x))
	}
	for _, name := range f.policies {
		p, ok := cost.ParsePolicy(name)
		if !ok {
			return o, shoal.E(shoal.Invalid, "policy "+name, "there is none of this name", "there are fluid, ship-data and ship-code")
		}
		o.Policies = append(o.Policies, p)
	}
	for _, x := range f.set {
		path, value, ok := strings.Cut(x, "=")
		if !ok {
			return o, shoal.E(shoal.Invalid, "set "+x, "it has not the form PATH=VALUE", "write one like data.corpus.replicas=3")
		}
		if err := simulations.Change(&o, path, value); err != nil {
			return o, err
		}
	}
	return o, nil
}

// run is how to run it.
func (f *simFlags) run(s *shell) (simulations.Options, *simMeter) {
	m := &simMeter{s: s, begun: time.Now()}
	return simulations.Options{Storey: f.storey, Memory: simulations.Available(), Version: node.Version, World: helper(simulations.WorldVerb), Progress: m.on}, m
}

// simOut is what 'sim run' prints as JSON: the first run's figures, and all runs.
type simOut struct {
	Scenario string             `json:"scenario"`
	Trace    string             `json:"trace_hash"`
	Seed     uint64             `json:"seed"`
	Storey   string             `json:"storey"`
	Policy   string             `json:"policy"`
	Nodes    int                `json:"nodes"`
	Figures  map[string]float64 `json:"figures"`
	Leaves   map[string]uint64  `json:"leaf_calls,omitempty"`
	Report   string             `json:"report"` // the HTML file
	Result   string             `json:"result"` // the JSON file
	Skipped  int                `json:"skipped_rows"`
	Cut      bool               `json:"cut"`
	Unmet    []report.Unmet     `json:"unmet"`
	Storeys  []report.Check     `json:"storeys,omitempty"`
	Runs     []simOutRun        `json:"runs"`
}

type simOutRun struct {
	Storey  string             `json:"storey"`
	Policy  string             `json:"policy"`
	Seed    uint64             `json:"seed"`
	Trace   string             `json:"trace_hash"`
	Events  uint64             `json:"events"`
	Wall    float64            `json:"wall_s"`
	RSS     uint64             `json:"rss_bytes"`
	Figures map[string]float64 `json:"figures"`
	Broken  []string           `json:"violations,omitempty"`
}

func simRunCmd(s *shell) *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario, and write a report",
		Long: `Run simulates a scenario with each of its policies and seeds, writes a report that opens offline (NAME.html) and all
figures (NAME.json) into a folder, and prints a summary. It ends with code 1 if an expectation of the scenario does not hold, with 2 if
the scenario is wrong, and with 3 if this machine's memory does not hold it. Ctrl-C ends it early and writes what there is.`,
		Example: `  shoal sim run lan-5
  shoal sim run campus-1000 --seed 1,2,3 --policy fluid,ship-data
  shoal sim run mine.yaml --nodes 10000 --out reports --json`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			sc, err := simulations.Load(args[0], o)
			if err != nil {
				return err
			}
			page, err := writable(f.out, sc.Name+".html")
			if err != nil {
				return err
			}
			opt, bar := f.run(s)
			r, err := simulations.Run(cmd.Context(), sc, opt)
			bar.clear()
			if err != nil {
				return err
			}
			r.Scaled, r.Set = o.Nodes, f.set
			data := strings.TrimSuffix(page, ".html") + ".json"
			if err := save(page, data, r.HTML, r); err != nil {
				return err
			}
			if err := s.show(outOf(r, page, data), func() {
				s.printf("%s", r.Text())
				s.printf("%s\n", page)
			}); err != nil {
				return err
			}
			return simVerdict("sim run "+r.Scenario, r, "run such a seed again with 'shoal sim replay "+data+" --seed S'")
		},
	}
	f.add(cmd)
	return cmd
}

func outOf(r *report.Result, page, data string) simOut {
	out := simOut{
		Scenario: r.Scenario, Nodes: r.Nodes, Report: page, Result: data, Skipped: r.Skipped, Cut: r.Cut, Unmet: r.Unmet,
		Storeys: report.Storeys(r, report.Bands), Runs: []simOutRun{},
	}
	if out.Unmet == nil {
		out.Unmet = []report.Unmet{}
	}
	for i, x := range r.Runs {
		if i == 0 {
			out.Trace, out.Seed, out.Storey, out.Policy, out.Figures, out.Leaves = x.Trace, x.Seed, x.Storey, report.PolicyName(x.Policy), x.Figures, x.Leaves
		}
		out.Runs = append(out.Runs, simOutRun{x.Storey, report.PolicyName(x.Policy), x.Seed, x.Trace, x.Events, x.Wall, x.RSS, x.Figures, x.Broken})
	}
	return out
}

// simVerdict is an error if a result is not as it should be: it names all that is not; the summary says what was found instead.
func simVerdict(what string, r *report.Result, try string) error {
	var why, unmet, off []string
	for _, e := range r.Expect {
		if slices.ContainsFunc(r.Unmet, func(u report.Unmet) bool { return u.Expect == e }) {
			unmet = append(unmet, e)
		}
	}
	if len(unmet) > 0 {
		why = append(why, "not as expected: "+strings.Join(unmet, ", "))
	}
	if broken := r.Broken(); len(broken) > 0 {
		why = append(why, fmt.Sprintf("%s, the first: %s", counted(len(broken), "violation"), strings.TrimPrefix(broken[0], "violation: ")))
	}
	for _, c := range report.Storeys(r, report.Bands) {
		if !c.Inside && !c.Alone {
			off = append(off, c.Figure+" ("+c.Policy+")")
		}
	}
	if len(off) > 0 {
		why = append(why, "the model is not within the band of the world: "+strings.Join(off, ", "))
	}
	switch {
	case len(why) > 0:
		return shoal.E(shoal.Failed, what, strings.Join(why, "; "), try)
	case r.Cut:
		return shoal.E(shoal.Canceled, what, "it was interrupted", "the report has what there is until then")
	}
	return nil
}

// writable makes a folder and looks whether a file can be written there, before anything takes time.
func writable(dir, name string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", reportError(dir, err)
	}
	f, err := os.CreateTemp(dir, ".try-*")
	if err != nil {
		return "", reportError(dir, err)
	}
	f.Close()
	os.Remove(f.Name())
	return filepath.Join(dir, name), nil
}

func reportError(dir string, err error) error {
	e := fileError("report folder "+dir, err)
	if x, ok := e.(*shoal.Error); ok {
		x.Kind, x.Try = shoal.Failed, "name another folder with --out"
	}
	return e
}

// save writes a page, and v as JSON beside it.
func save(page, data string, html func() ([]byte, error), v any) error {
	b, err := html()
	if err != nil {
		return shoal.Wrap(shoal.Internal, "write the report", err)
	}
	j, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return shoal.Wrap(shoal.Internal, "write the result", err)
	}
	for path, text := range map[string][]byte{page: b, data: append(j, '\n')} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return reportError(filepath.Dir(page), err)
		}
	}
	return nil
}

// tellEvery is how often a simulation tells how far it is where there is no terminal.
const tellEvery = 15 * time.Second

// simMeter shows how far a simulation is: on a terminal by a bar, once it has taken a second; else by a line now and then.
type simMeter struct {
	s     *shell
	begun time.Time
	bar   *progressbar.ProgressBar
	told  time.Time
}

func (m *simMeter) on(p simulations.Progress) {
	now := time.Now()
	if !onTerminal(m.s.errs) {
		if now.Sub(m.begun) >= tellEvery && now.Sub(m.told) >= tellEvery {
			m.told = now
			fmt.Fprintln(m.s.errs, p.Line(now.Sub(m.begun)))
		}
		return
	}
	if m.s.json || now.Sub(m.begun) < time.Second || now.Sub(m.told) < 100*time.Millisecond {
		return
	}
	m.told = now
	if m.bar == nil {
		m.bar = progressbar.NewOptions64(10000,
			progressbar.OptionSetWriter(m.s.errs), progressbar.OptionSetWidth(24), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	m.bar.Describe(p.Line(now.Sub(m.begun)))
	_ = m.bar.Set64(int64(min(p.Part, 1) * 9999))
}

func (m *simMeter) clear() {
	if m.bar != nil {
		_ = m.bar.Clear()
		m.bar = nil
	}
}
