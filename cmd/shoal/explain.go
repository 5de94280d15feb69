package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

func explainCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "explain TASK",
		Short: "Tell why a task ran where it ran, and what was expected against what came",
		Long: `Tell why a task ran where it ran: every term of the cost, in seconds, of the chosen peer and the next
ones, and who was out and why. Once it has ended well: what was expected against what came, term by term.
'shoal peers --rates' shows what was learnt from that. The tasks of a job are JOB/0, JOB/1, ...`,
		Example: "  shoal explain TASK\n  shoal explain JOB/0 --json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t job.Record
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Path("tasks", args[0]), nil, &t); err != nil {
				return err
			}
			if t.Explain == nil {
				try := "run it again with --explain"
				if t.Kind == job.KindJob {
					try = "name one of its tasks, as 'shoal explain " + args[0] + "/0'"
				}
				return shoal.E(shoal.NotFound, "explain "+args[0], "there is no decision about it on record", try)
			}
			out := explained{Task: t.ID, State: t.State, Explain: t.Explain}
			if score, ok := t.Score(); ok {
				out.Score = &score
			}
			return s.show(out, func() {
				s.printf("%s", t.Explain)
				if out.Score != nil {
					s.score(*out.Score)
				} else {
					s.printf("It is %s: there is nothing to compare with what was expected.\n", t.State)
				}
			})
		},
	}
}

// explained is what explain prints as JSON.
type explained struct {
	Task    shoal.TaskID    `json:"task"`
	State   shoal.TaskState `json:"state"`
	Explain *cost.Explain   `json:"explain"`
	Score   *job.Score      `json:"score,omitempty"` // of a task that has ended well
}

func (s *shell) score(c job.Score) {
	var rows [][]string
	for _, r := range []struct {
		name              string
		predicted, actual float64
	}{
		{"wait", c.Predicted.Wait, c.Actual.Wait},
		{"code", c.Predicted.Code, c.Actual.Code},
		{"data", c.Predicted.Data, c.Actual.Data},
		{"compile", c.Predicted.Compile, c.Actual.Compile},
		{"work", c.Predicted.Work, c.Actual.Work},
		{"latency", c.Predicted.Latency, c.Actual.Latency},
		{"total", c.Expected, c.Took},
	} {
		expected := cost.Seconds(r.predicted)
		if r.name == "work" && c.Unknown {
			expected = "unknown"
		}
		rows = append(rows, []string{r.name, expected, cost.Seconds(r.actual)})
	}
	s.table("TERM EXPECTED ACTUAL", rows)
}
