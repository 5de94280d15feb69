package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

func taskCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "task",
		Short:   "List, show, follow, wait for and cancel tasks, from any node",
		Example: "  shoal task ls\n  shoal task logs TASK -f",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(taskLsCmd(s), taskShowCmd(s), taskLogsCmd(s), taskWaitCmd(s), taskCancelCmd(s))
	return cmd
}

func taskLsCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [JOB]",
		Short: "List the tasks and jobs of the fabric, or the tasks of one job, newest first",
		Args:  between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res scheduler.Listing
			path := "tasks"
			if len(args) == 1 {
				path = api.Query(path, "of", args[0])
			}
			if err := s.client().Call(cmd.Context(), http.MethodGet, path, nil, &res); err != nil {
				return err
			}
			if len(res.Silent) > 0 {
				s.note("%d members did not answer: their tasks may be missing", len(res.Silent))
			}
			if s.json {
				return s.lines(len(res.Tasks), func(i int) any { return res.Tasks[i] })
			}
			rows := make([][]string, len(res.Tasks))
			for i, t := range res.Tasks {
				age := time.Since(time.UnixMilli(t.Created)).Seconds()
				rows[i] = []string{string(t.ID), string(t.State), t.Peer.Short(), ago(age), t.Module}
			}
			if len(rows) == 0 {
				s.note("no task yet: 'shoal run example:hello' makes one")
				return nil
			}
			s.table("TASK STATE PEER AGE MODULE", rows)
			return nil
		},
	}
}

func taskShowCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "show TASK",
		Short: "Show a task: where it ran and why, and what came of it",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t job.Record
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Path("tasks", args[0]), nil, &t); err != nil {
				return err
			}
			return s.show(t, func() { s.task(t) })
		},
	}
}

func (s *shell) task(t job.Record) {
	s.printf("%-8s %s\nstate    %s\nmodule   %s\nhome     %s\n", t.Kind, t.ID, t.State, t.Module, t.Home)
	if t.Peer != "" {
		s.printf("peer     %s\n", t.Peer)
	}
	if t.Attempts > 1 {
		s.printf("attempts %d\n", t.Attempts)
	}
	for i, c := range t.Copies {
		took := ""
		if c.Ended > 0 {
			took = fmt.Sprintf(" after %.1f s", float64(c.Ended-c.Began)/1000)
		}
		s.printf("copy %d   %s on %s%s\n", i+1, c.State, c.Peer.Short(), took)
	}
	if t.Error != "" {
		s.printf("error    %s\n", t.Error)
	}
	if c := t.Counts; c != nil {
		s.printf("tasks    %d of %d done, %d on a holder of their data, %d retries\n", c.Done, c.Tasks, c.OnHolders, c.Retries)
		if c.Copies > 0 {
			s.printf("copies   %d of late tasks, %d of them faster\n", c.Copies, c.CopiesWon)
		}
		s.printf("moved    %s of code, %s of data, %s of results\nread     %s\n",
			size(c.CodeMoved), size(c.DataMoved), size(c.ResultMoved), size(c.DataRead))
	}
	if o := t.Outcome; o != nil {
		s.printf("exit     %d\nseconds  %.2f\n", o.Exit, o.Seconds)
		if !strings.HasPrefix(t.Module, shoal.ExecPrefix) {
			s.printf("gas      %s\n", count(o.Gas))
		}
		if len(o.Devices) > 0 {
			s.printf("devices  %s\n", strings.Join(o.Devices, ", "))
		}
		if o.Bounds != "" {
			s.printf("bounds   %s\n", o.Bounds)
		}
		if o.Over > 0 {
			s.printf("over     %.1f ms after its limit\n", o.Over*1e3)
		}
		if t.Counts == nil {
			s.printf("moved    %s of code, %s of data\nread     %s\n", size(o.CodeMoved), size(o.DataMoved), size(o.DataRead))
		}
		if o.Output != "" {
			s.printf("output   %s\n", o.Output)
		}
	}
	if t.Explain != nil {
		s.printf("%s", t.Explain)
	}
}

func taskLogsCmd(s *shell) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs TASK",
		Short: "Print what a task wrote to its standard output and error",
		Long: `Print what a task wrote to its standard output and error, from wherever it ran.

The log of a job of several tasks has what each of them wrote, under its name, once it has ended, and
what the job did about failures; JOB/0, JOB/1, ... are its tasks. Of each log 1 MiB is kept, half from
its begin and half from its end.`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flag := ""
			if follow {
				flag = "1"
			}
			return s.client().Raw(cmd.Context(), api.Query(api.Path("tasks", args[0], "logs"), "follow", flag), s.out)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the task ends")
	return cmd
}

func taskWaitCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "wait TASK",
		Short: "Wait until a task ends; the exit code is the program's",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t job.Record
			m := s.meter()
			err := s.client().Stream(cmd.Context(), http.MethodGet, api.Path("tasks", args[0], "wait"), nil, &t, m.on)
			m.clear()
			if err != nil {
				return err
			}
			if err := s.show(t, func() { s.task(t) }); err != nil {
				return err
			}
			if t.Outcome != nil && t.Outcome.Exit != 0 {
				return guestExit(t.Outcome.Exit)
			}
			if t.State != shoal.TaskDone {
				return guestExit(exitFailed)
			}
			return nil
		},
	}
}

func taskCancelCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel TASK",
		Short: "Stop a task",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t job.Record
			if err := s.client().Call(cmd.Context(), http.MethodPost, api.Path("tasks", args[0], "cancel"), nil, &t); err != nil {
				return err
			}
			return s.show(t, func() { s.printf("%s is %s\n", t.ID, t.State) })
		},
	}
}
