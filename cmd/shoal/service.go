package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/services"
)

func serviceCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Functions with a name, served where calls come, by as many instances as it takes",
		Long: `A service is a function under a name: it gets some bytes and replies with some, and keeps nothing between calls.
Nothing of it runs until it is called. Instances appear on the peers whose calls wait, and on further ones when those have
no room; they go when they are not needed. Callers find them by themselves: there is no balancer in the middle.
What must last is kept by an agent ('shoal agent --help'), which a service may call.

SERVICE is a name, or owner/name. docs/services.md has the whole of it.`,
		Example: `  shoal service create words --code example:classify --method classify
  shoal service call words 'what a darn day'
  shoal service show words`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(serviceCreateCmd(s), serviceCallCmd(s), serviceLsCmd(s), serviceShowCmd(s), serviceRmCmd(s))
	return cmd
}

func serviceCreateCmd(s *shell) *cobra.Command {
	var req api.ServiceCreate
	var target, idle time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME (--code MODULE | --exec NAME) --method M",
		Short: "Give a name to a function",
		Long: `MODULE is a file, the CID of one in the fabric, or example:NAME: a module that exports the method M ('shoal inspect'
lists what it has). If it exports M_batch or handle_batch too, calls that wait are handed over together. --exec names a
native executor that operators list ('shoal peers' shows where there are some): a process is kept warm, with its devices,
while there are calls. With both, the faster one serves, as it turns out.

A call waits for --target-wait at most before another instance is opened, as long as there is room in the fabric and --max
allows it. An instance that was of no use for --idle is closed, down to --min. With --needs only peers that fulfil the
expression have instances ('shoal peers --help' lists what it may speak of). What a service is never changes: remove it, and
create it anew. A call happens at most once; --idempotent says that it may as well happen twice, so that it is
called again elsewhere when a machine is lost before it answered.`,
		Example: `  shoal service create words --code example:classify --method classify
  shoal service create thumbs --code ./thumbs.wasm --method make --max 20 --target-wait 100ms --idempotent
  shoal service create llm --exec llama --method chat --needs 'gpus.exists(g, g.memory >= gib(24))' --idle 10m`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case req.Code == "" && req.Exec == "":
				return usage(cmd, "wants --code MODULE, --exec NAME, or both")
			case req.Method == "":
				return usage(cmd, "wants --method M")
			}
			c := s.client()
			var err error
			if req.Code != "" {
				if req.Code, err = s.module(cmd.Context(), c, req.Code); err != nil {
					return err
				}
			}
			req.Name, req.TargetMS, req.IdleS = args[0], target.Seconds()*1000, idle.Seconds()
			var res services.Definition
			if err := c.Call(cmd.Context(), http.MethodPost, "services", req, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("%s\n", res.Key) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Code, "code", "", "the module")
	f.StringVar(&req.Exec, "exec", "", "the native executor")
	f.StringVar(&req.Method, "method", "", "the exported function")
	f.IntVar(&req.Min, "min", 0, "instances that there are always")
	f.IntVar(&req.Max, "max", 0, "instances in the fabric at most (0: no limit)")
	f.DurationVar(&target, "target-wait", services.DefaultWait, "how long a call may wait before there are more instances")
	f.DurationVar(&idle, "idle", services.DefaultIdle, "how long an instance stays without use")
	f.StringVar(&req.Needs, "needs", "", "what a machine must fulfil, as in 'shoal run --needs'")
	f.BoolVar(&req.Idempotent, "idempotent", false, "a call may happen more than once")
	return cmd
}

func serviceCallCmd(s *shell) *cobra.Command {
	var req api.ServiceCall
	cmd := &cobra.Command{
		Use:   "call SERVICE [PAYLOAD|-]",
		Short: "Call a service and print its reply",
		Long: `The reply's bytes are printed as they are. PAYLOAD is passed on as it is, up to 1 MiB; - reads it from standard input.
The call happens at most once. When the machine it was sent to is lost before it answered, that is an error, unless the
service was created with --idempotent, or the call has it.`,
		Example: "  shoal service call words 'what a darn day'\n  shoal service call thumbs - < photo.jpg > thumb.jpg",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Service = args[0]
			if len(args) == 2 {
				var err error
				if req.Payload, err = payload(cmd, args[1]); err != nil {
					return err
				}
			}
			req.TimeoutSeconds = s.patience()
			var res api.ServiceReply
			if err := s.client().Call(cmd.Context(), http.MethodPost, "services/call", req, &res); err != nil {
				return err
			}
			return s.reply(res, res.Reply)
		},
	}
	cmd.Flags().BoolVar(&req.Idempotent, "idempotent", false, "this call may happen more than once")
	return cmd
}

func serviceLsCmd(s *shell) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the services by name",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []services.Definition
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("services", "owner", owner), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			rows := make([][]string, len(list))
			for i, d := range list {
				rows[i] = []string{d.Name, d.Method, strings.Join(implementations(d), " "), instances(d), ago(time.Since(time.UnixMilli(d.CreatedMS)).Seconds())}
			}
			s.table("NAME METHOD CODE INSTANCES AGE", rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "of this owner, instead of the fabric's")
	return cmd
}

// implementations lists what serves a service.
func implementations(d services.Definition) (list []string) {
	if d.Code != "" {
		list = append(list, d.Code)
	}
	if d.Exec != "" {
		list = append(list, shoal.ExecPrefix+d.Exec)
	}
	return list
}

// instances says how many a service may have.
func instances(d services.Definition) string {
	if d.Max == 0 {
		return fmt.Sprintf("%d or more", d.Min)
	}
	return fmt.Sprintf("%d to %d", d.Min, d.Max)
}

func serviceShowCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "show SERVICE",
		Short: "Say what a service is, where it has instances, and how they do",
		Long: `Each peer that has instances, or had some within the last hour, tells what they do: how many calls wait, how many it has
done and how many it sent on to others, how many are handed over together, and how long the last 512 took, the wait included.`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res services.Show
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("services/show", "service", args[0]), nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.service(res) })
		},
	}
}

func (s *shell) service(d services.Show) {
	line := func(what, value string) { s.printf("%-10s %s\n", what, value) }
	line("name", d.Name)
	line("key", d.Key)
	for i, code := range implementations(d.Definition) {
		what := "code"
		if i > 0 {
			what = ""
		}
		line(what, code)
	}
	line("method", d.Method)
	line("wants", fmt.Sprintf("%s instances, waits of %v, idle for %v", instances(d.Definition),
		time.Duration(d.TargetMS*float64(time.Millisecond)), time.Duration(d.IdleS*float64(time.Second))))
	if d.Needs != "" {
		line("needs", d.Needs)
	}
	if d.Idempotent {
		line("calls", "may happen more than once")
	}
	line("now", fmt.Sprintf("%d instances, %d calls wait, %d done", d.Instances, d.Waiting, d.Calls))
	if d.Silent > 0 {
		line("", fmt.Sprintf("%d peers did not answer", d.Silent))
	}
	var rows [][]string
	for _, h := range d.Hosts {
		var by []string
		for kind, n := range h.By {
			by = append(by, fmt.Sprintf("%s %d", kind, n))
		}
		slices.Sort(by)
		rows = append(rows, []string{
			h.Peer.Short(), fmt.Sprint(h.Instances), fmt.Sprint(h.Waiting), fmt.Sprint(h.Calls), fmt.Sprint(h.Failed), fmt.Sprint(h.SentOn),
			fmt.Sprintf("%.1f", h.Batch), fmt.Sprintf("%.1f ms", h.P50), fmt.Sprintf("%.1f ms", h.P99), strings.Join(by, " "),
		})
	}
	if len(rows) > 0 {
		s.printf("\n")
		s.table("PEER INSTANCES WAITING CALLS FAILED SENT-ON BATCH P50 P99 BY", rows)
	}
	for _, h := range d.Hosts {
		if h.Failure != "" {
			s.note("%s: %s", h.Peer.Short(), h.Failure)
		}
	}
}

func serviceRmCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "rm SERVICE",
		Short: "End a service: its instances are closed, its name is free",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res map[string]bool
			if err := s.client().Call(cmd.Context(), http.MethodDelete, api.Query("services", "service", args[0]), nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("removed %s\n", args[0]) })
		},
	}
}

// serviceNames offers the services of the fabric.
func (s *shell) serviceNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var all []services.Definition
	if s.ask(cmd, "services", &all) {
		for _, d := range all {
			if strings.HasPrefix(d.Name, typed) {
				list = append(list, d.Name+"\t"+d.Method)
			}
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// execNames offers the native executors of the fabric, without their prefix.
func (s *shell) execNames(cmd *cobra.Command, args []string, typed string) (list []string, d cobra.ShellCompDirective) {
	list, d = s.codeNames(cmd, args, shoal.ExecPrefix+typed)
	for i := range list {
		list[i] = strings.TrimPrefix(list[i], shoal.ExecPrefix)
	}
	return list, d
}
