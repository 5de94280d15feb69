package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

func simSweepCmd(s *shell) *cobra.Command {
	var f simFlags
	var vary []string
	cmd := &cobra.Command{
		Use:   "sweep SCENARIO --vary PATH=VALUE,VALUE...",
		Short: "Run a scenario with values varied, and draw how figures grow",
		Long: `Sweep runs a scenario with each combination of values, and draws figures against the first: hops, traffic of
announcing and repair per node and hour, the time to find a GPU, and others. PATH is nodes, replicas (of all data), or a value of the file:
data.NAME.replicas, load.NAME.rate, classes.NAME.session, duration.`,
		Example: "  shoal sim sweep campus-1000 --vary nodes=100,1e3,1e4 --vary replicas=1,3,5\n  shoal sim sweep churn-hour --vary faults.churn.session=10m,1h,4h",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(vary) == 0 {
				return usage(cmd, "it wants --vary PATH=VALUE,VALUE")
			}
			var axes []report.Axis
			for _, v := range vary {
				a, err := simulations.ParseAxis(v)
				if err != nil {
					return err
				}
				axes = append(axes, a)
			}
			o, err := f.options()
			if err != nil {
				return err
			}
			page, err := writable(f.out, "sweep-"+strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))+".html")
			if err != nil {
				return err
			}
			opt, bar := f.run(s)
			sw, err := simulations.Sweep(cmd.Context(), args[0], o, axes, opt)
			bar.clear()
			if err != nil {
				return err
			}
			data := strings.TrimSuffix(page, ".html") + ".json"
			if err := save(page, data, sw.HTML, sw); err != nil {
				return err
			}
			out := struct {
				*report.Sweep
				Report string `json:"report"`
				Result string `json:"result"`
			}{sw, page, data}
			if err := s.show(out, func() {
				header, rows := sw.Text()
				s.table(strings.Join(header, " "), rows)
				if slope, ok := sw.PerDecade("lookup_hops_mean"); ok && axes[0].Path == "nodes" {
					s.printf("hops grow by %.2f with ten times the nodes\n", slope)
				}
				s.printf("%s\n", page)
			}); err != nil {
				return err
			}
			switch {
			case len(sw.Refused) > 0:
				return shoal.E(shoal.Refused, "sim sweep "+sw.Scenario, strings.Join(sw.Refused, "\n"), "the report has the others")
			case sw.Cut:
				return shoal.E(shoal.Canceled, "sim sweep "+sw.Scenario, "it was interrupted", "the report has what there is until then")
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringArrayVar(&vary, "vary", nil, "PATH=VALUE,VALUE,...; again for another")
	return cmd
}

func simCompareCmd(s *shell) *cobra.Command {
	var strict, all bool
	cmd := &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Tell how one result differs from another",
		Long: `Compare tells, of each figure that both results have, how much B differs from A, the difference's 95 % interval over
seeds, and whether it is better or worse beyond that. Results of one seed have no interval: they are the same, or not.`,
		Example: "  shoal sim compare before/campus-1000.json after/campus-1000.json --fail-if-worse",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := report.ReadFile(args[0])
			if err != nil {
				return err
			}
			b, err := report.ReadFile(args[1])
			if err != nil {
				return err
			}
			c := report.Compare(a, b)
			if len(c.Lines) == 0 {
				return shoal.E(shoal.Failed, "sim compare", "the results have no storey and policy in common", "compare runs of the same kind")
			}
			if err := s.show(c, func() {
				if !c.Same {
					s.note("The results are of different scenarios, or of another number of nodes.")
				}
				var rows [][]string
				for _, l := range c.Lines {
					if all || l.Verdict != "same" {
						rows = append(rows, l.Cells())
					}
				}
				s.table("STOREY POLICY FIGURE A B DIFFERENCE VERDICT", rows)
				if n := len(c.Lines) - len(rows); n > 0 {
					s.printf("%s the same.\n", map[bool]string{true: "1 figure is", false: fmt.Sprint(n, " figures are")}[n == 1])
				}
			}); err != nil {
				return err
			}
			if worse := c.Worse(); strict && len(worse) > 0 {
				var names []string
				for _, l := range worse {
					names = append(names, l.Figure)
				}
				return shoal.E(shoal.Failed, "sim compare", "worse: "+strings.Join(names, ", "), "")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "fail-if-worse", false, "end with code 1 if a figure is worse beyond its interval")
	cmd.Flags().BoolVar(&all, "all", false, "show figures that are the same as well")
	return cmd
}

func simReplayCmd(s *shell) *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "replay RESULT.json|SCENARIO [--seed S]",
		Short: "Run a seed again, and look whether everything happens again",
		Long: `Replay runs a seed of a result again: the one that --seed names, or the first that was not as expected. A run of the
model must give the same trace hash, which covers every event; replay tells what did not hold, and ends with code 1 if something did not. Of
a scenario, it runs the seed twice.`,
		Example: "  shoal sim replay sim-out/campus-1000.json --seed 7\n  shoal sim replay lan-5 --seed 3",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			if len(o.Seeds) > 1 {
				return usage(cmd, "it runs one seed")
			}
			opt, bar := f.run(s)
			var was *report.Run
			var sc *scenario.Scenario
			if strings.HasSuffix(args[0], ".json") {
				if sc, was, err = recorded(args[0], o); err != nil {
					return err
				}
				opt.Storey = was.Storey
			} else {
				if len(o.Seeds) == 0 {
					return usage(cmd, "it wants --seed S with a scenario")
				}
				if sc, err = simulations.Load(args[0], o); err != nil {
					return err
				}
				sc.Policies = sc.Policies[:1]
				first, err := simulations.Run(cmd.Context(), sc, opt)
				if err != nil {
					return err
				}
				if len(first.Runs) == 0 {
					return cmd.Context().Err()
				}
				was = &first.Runs[0]
			}
			r, err := simulations.Run(cmd.Context(), sc, opt)
			bar.clear()
			if err != nil {
				return err
			}
			if r.Cut {
				return shoal.E(shoal.Canceled, "sim replay "+args[0], "it was interrupted", "")
			}
			now := r.Runs[0]
			same := was.Trace == now.Trace
			out := replayed{r.Scenario, now.Storey, report.PolicyName(now.Policy), now.Seed, now.Trace, was.Trace, same, now.Broken, r.Unmet, now.Figures}
			if err := s.show(out, func() {
				s.printf("%s, %s, %s, seed %d: trace hash %s", r.Scenario, now.Storey, out.Policy, now.Seed, now.Trace)
				switch {
				case now.Trace == "":
					s.printf("none: worlds are not repeated to the byte\n")
				case same:
					s.printf(", the same again\n")
				default:
					s.printf(", and it was %s\n", was.Trace)
				}
				for _, line := range append(r.Misses(), r.Broken()...) {
					s.printf("%s\n", line)
				}
			}); err != nil {
				return err
			}
			if !same {
				return shoal.E(shoal.Failed, "sim replay "+args[0], "the trace differs: it was "+was.Trace+", and is "+now.Trace, "use the version and the traces that it was made with")
			}
			return simVerdict("sim replay "+args[0], r, "")
		},
	}
	f.add(cmd)
	_ = cmd.Flags().MarkHidden("out")
	return cmd
}

// replayed is what replay prints as JSON.
type replayed struct {
	Scenario string             `json:"scenario"`
	Storey   string             `json:"storey"`
	Policy   string             `json:"policy"`
	Seed     uint64             `json:"seed"`
	Trace    string             `json:"trace_hash"`
	Was      string             `json:"was"`
	Same     bool               `json:"same"`
	Broken   []string           `json:"violations,omitempty"`
	Unmet    []report.Unmet     `json:"unmet,omitempty"`
	Figures  map[string]float64 `json:"figures"`
}

// recorded finds the run of a result that is to be run again, and its scenario.
func recorded(path string, o scenario.Options) (*scenario.Scenario, *report.Run, error) {
	r, err := report.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	run := r.Suspect()
	if len(o.Seeds) > 0 {
		at := slices.IndexFunc(r.Runs, func(x report.Run) bool {
			return x.Seed == o.Seeds[0] && (len(o.Policies) == 0 || o.Policies[0] == x.Policy)
		})
		if at < 0 {
			return nil, nil, shoal.E(shoal.Invalid, fmt.Sprintf("seed %d", o.Seeds[0]), "the result has no run of it", "leave it out for the first that was not as expected")
		}
		run = &r.Runs[at]
	}
	if o.Nodes == 0 {
		o.Nodes = r.Scaled
	}
	for _, x := range r.Set {
		if p, v, ok := strings.Cut(x, "="); ok {
			if err := simulations.Change(&o, p, v); err != nil {
				return nil, nil, err
			}
		}
	}
	o.Seeds = []uint64{run.Seed}
	o.SkipBad = o.SkipBad || r.Skipped > 0
	sc, err := simulations.Load(r.File, o)
	if err != nil {
		return nil, nil, err
	}
	if sc.Sum != r.Sum {
		return nil, nil, shoal.E(shoal.Invalid, "scenario "+r.File, "it is not the file that the result was made of", "bring back the one with SHA-256 "+r.Sum)
	}
	sc.Policies = []cost.Policy{run.Policy}
	return sc, run, nil
}

func simLsCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Short:   "List the scenarios that are ready",
		Example: "  shoal sim ls",
		Args:    exactly(0),
		RunE: func(*cobra.Command, []string) error {
			list := simulations.List()
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			var rows [][]string
			for _, r := range list {
				rows = append(rows, []string{r.Name, count(uint64(r.Nodes)), r.About})
			}
			s.table("NAME NODES ABOUT", rows)
			return nil
		},
	}
}

func simShowCmd(s *shell) *cobra.Command {
	var schema bool
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print a ready scenario, to begin one of your own with",
		Example: "  shoal sim show lan-5 > mine.yaml\n  shoal sim show --schema > scenario.schema.json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				_, err := s.out.Write(scenario.Schema())
				return err
			}
			if len(args) == 0 {
				return usage(cmd, "it wants the name of a scenario; 'shoal sim ls' lists them")
			}
			var names []string
			for _, r := range simulations.List() {
				if r.Name == args[0] {
					_, err := s.out.Write(r.Text)
					return err
				}
				names = append(names, r.Name)
			}
			return shoal.E(shoal.Invalid, "scenario "+args[0], "none of this name is ready", "there are "+strings.Join(names, ", "))
		},
	}
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of scenarios")
	return cmd
}

// scenarioNames offers ready scenarios, and files.
func scenarioNames(_ *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	for _, r := range simulations.List() {
		list = offer(list, typed, r.Name, r.About)
	}
	return list, cobra.ShellCompDirectiveDefault
}
