package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/node"
)

func agentCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Durable programs with a name, called from anywhere, that outlive their machine",
		Long: `An agent is a small program with state, under a name. It is called from any node; its state is kept by
several of them (three, unless told otherwise), so that it goes on when the machine it runs on dies. It
processes one message after the other: what a message changes is durable, on most of its keepers, when
the caller has the reply.

AGENT is a name, owner/name, or a key as 'agent create' prints it.`,
		Example: `  shoal agent create hits --code example:counter
  shoal agent call hits add 1
  shoal agent show hits`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(agentCreateCmd(s), agentCallCmd(s), agentLsCmd(s), agentShowCmd(s), agentLogsCmd(s), agentMoveCmd(s),
		agentUpgradeCmd(s), agentHistoryCmd(s), agentRecoverCmd(s), agentRmCmd(s))
	return cmd
}

func agentCreateCmd(s *shell) *cobra.Command {
	var req api.AgentCreate
	cmd := &cobra.Command{
		Use:   "create NAME --code MODULE",
		Short: "Make an agent",
		Long: `MODULE is a file, the CID of one in the fabric, or example:NAME: a module that exports methods
('shoal inspect' lists them). On a fabric with fewer members than --replicas the agent begins with the
keepers there are, and says so; --strict refuses instead. With --near the peers that hold most of that data are
its keepers, if they take it, and it lives on the first. With --needs only peers that fulfil the expression become
keepers, now and when one is replaced ('shoal peers --help' lists what it may speak of). A name that has an agent already is refused.`,
		Example: "  shoal agent create hits --code example:counter\n  shoal agent create cart-17 --code ./cart.wasm --replicas 5\n  shoal agent create trainer --code ./train.wasm --needs 'labels.zone == \"a\" && memory >= gib(16)'",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.Code == "" {
				return usage(cmd, "wants --code MODULE")
			}
			c := s.client()
			var err error
			if req.Code, err = s.module(cmd.Context(), c, req.Code); err != nil {
				return err
			}
			req.Name = args[0]
			var res agents.Created
			if err := c.Call(cmd.Context(), http.MethodPost, "agents", req, &res); err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s\n", res.Key)
				if res.Note != "" {
					s.note("%s", res.Note)
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Code, "code", "", "the agent's module")
	f.IntVar(&req.Replicas, "replicas", 3, "how many peers keep its state: 1, 3 or 5")
	f.StringVar(&req.Near, "near", "", "CID of data: rather kept by those who hold it")
	f.StringVar(&req.Needs, "needs", "", "what a keeper's machine must fulfil, as in 'shoal run --needs'")
	f.BoolVar(&req.Strict, "strict", false, "refuse rather than begin with fewer keepers")
	return cmd
}

func agentCallCmd(s *shell) *cobra.Command {
	var req api.AgentCall
	cmd := &cobra.Command{
		Use:   "call AGENT METHOD [PAYLOAD|-]",
		Short: "Call a method of an agent and print its reply",
		Long: `The reply's bytes are printed as they are. PAYLOAD is passed on as it is; - reads it from standard input.
With --read the method may only read, which costs no write. With --request-id a call can be repeated, also
after an error that leaves open what came of it: it happens once, and the repetition prints the same reply.`,
		Example: "  shoal agent call hits add 1\n  shoal agent call hits get --read\n  shoal agent call cart-17 pay - --request-id order-17 < order.json",
		Args:    between(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Agent, req.Method = args[0], args[1]
			if len(args) == 3 {
				var err error
				if req.Payload, err = payload(cmd, args[2]); err != nil {
					return err
				}
			}
			if req.Read && req.Request != "" {
				return usage(cmd, "--read and --request-id do not go together: what only reads may be repeated anyway")
			}
			req.TimeoutSeconds = s.patience()
			var res api.AgentReply
			if err := s.client().Call(cmd.Context(), http.MethodPost, "agents/call", req, &res); err != nil {
				return err
			}
			return s.reply(res, res.Reply)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&req.Read, "read", false, "the method only reads")
	f.StringVar(&req.Request, "request-id", "", "the request's name: repeated, it happens once")
	return cmd
}

const maxPayload = 1 << 20

// payload is an argument's bytes, or of "-" what standard input has, up to one byte more than a payload may.
func payload(cmd *cobra.Command, arg string) ([]byte, error) {
	if arg != "-" {
		return []byte(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxPayload+1))
	return b, shoal.Wrap(shoal.Internal, "standard input", err)
}

func agentLsCmd(s *shell) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the agents by name",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []node.AgentName
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("agents", "owner", owner), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			rows := make([][]string, len(list))
			for i, a := range list {
				born := ago(time.Since(time.UnixMilli(a.BornMS)).Seconds())
				if a.Pending {
					born = "being born"
				}
				rows[i] = []string{a.Name, a.Key, born}
			}
			s.table("NAME KEY AGE", rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "of this owner, instead of the fabric's")
	return cmd
}

func agentShowCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "show AGENT",
		Short: "Say where an agent lives, who keeps it, and how much it has done",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var a agents.Show
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("agents/show", "agent", args[0]), nil, &a); err != nil {
				return err
			}
			return s.show(a, func() {
				line := func(what, value string) { s.printf("%-10s %s\n", what, value) }
				line("name", a.Name)
				line("key", a.Key)
				code := a.Code
				if a.Manifest > 0 {
					code += fmt.Sprintf(" (upgrade %d)", a.Manifest)
				}
				line("code", code)
				leader := "nobody now: it is asleep, or elects"
				if a.Leader != "" {
					leader = string(a.Leader)
				}
				line("lives on", leader)
				for i, k := range a.Keepers {
					what := ""
					if i == 0 {
						what = "kept by"
					}
					line(what, string(k))
				}
				if a.Note != "" {
					line("", a.Note)
				}
				var located []string
				for _, p := range a.Located {
					located = append(located, p.Short())
				}
				if len(located) > 0 {
					line("found by", strings.Join(located, " ")+", says the DHT")
				}
				line("epoch", fmt.Sprint(a.Epoch))
				line("turns", fmt.Sprint(a.Turns))
				line("state", size(a.Bytes))
				if a.Timers > 0 {
					line("timers", fmt.Sprint(a.Timers))
				}
				for i, r := range a.Recent {
					what := ""
					if i == 0 {
						what = "last turns"
					}
					text := fmt.Sprintf("%s  %-12s %.1f ms", time.UnixMilli(r.At).Format("15:04:05.000"), r.Method, r.Took)
					if r.Error != "" {
						text += "  failed: " + r.Error
					}
					line(what, text)
				}
				if a.Last > 0 && len(a.Recent) == 0 {
					line("last turn", ago(time.Since(time.UnixMilli(a.Last)).Seconds()))
				}
			})
		},
	}
}

func agentRmCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "rm AGENT",
		Short: "End an agent for good: its state is gone, its name is free, its key never comes back",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res map[string]bool
			if err := s.client().Call(cmd.Context(), http.MethodDelete, api.Query("agents", "agent", args[0]), nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("removed %s\n", args[0]) })
		},
	}
}
