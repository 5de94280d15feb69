package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/node"
)

func agentMoveCmd(s *shell) *cobra.Command {
	var near string
	cmd := &cobra.Command{
		Use:   "move AGENT PEER | move AGENT --near CID",
		Short: "Have an agent live on another peer, or near data",
		Long: `The peer becomes a keeper of the agent if it was none, in place of another, and the agent goes on there. Calls
meanwhile are answered; none is lost or done twice. PEER is a peer ID, or its last eight characters. With --near it
is the peer that holds the most of that data, of those that take it. For an hour then it is not drawn elsewhere by what
it reads or calls.`,
		Example: "  shoal agent move hits u4Wqrh5b\n  shoal agent move hits --near bafy...",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := api.AgentMove{Agent: args[0], Near: near}
			if len(args) == 2 {
				req.To = args[1]
			}
			if (req.To == "") == (near == "") {
				return usage(cmd, "wants a PEER, or --near CID")
			}
			var res api.AgentMoved
			if err := s.client().Call(cmd.Context(), http.MethodPost, "agents/move", req, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("%s lives on %s\n", args[0], res.Peer) })
		},
	}
	cmd.Flags().StringVar(&near, "near", "", "CID of data: to whoever holds the most of it")
	return cmd
}

func agentUpgradeCmd(s *shell) *cobra.Command {
	req := api.AgentUpgrade{}
	cmd := &cobra.Command{
		Use:   "upgrade AGENT --code MODULE",
		Short: "Give an agent other code, between two of its turns",
		Long: `Most of the agent's keepers fetch and compile MODULE first; then it takes effect between two turns. If it exports
'migrate', that runs before, on the state as it is; if it fails, the old code stays and the state with it. MODULE is a
file, the CID of one in the fabric, or example:NAME.`,
		Example: "  shoal agent upgrade hits --code ./hits-2.wasm",
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
			req.Agent = args[0]
			var res agents.Upgraded
			if err := c.Call(cmd.Context(), http.MethodPost, "agents/upgrade", req, &res); err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s runs %s\n", args[0], res.Code)
				if len(res.Missing) > 0 {
					s.note("it has no method %s any more: whoever calls one of these is refused", strings.Join(res.Missing, ", "))
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.Code, "code", "", "the new module")
	return cmd
}

func agentHistoryCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "history AGENT",
		Short: "List where an agent lived, who kept it and what code it ran",
		Long: `One line for each epoch in which the agent did something, each change of its keepers, each upgrade and each move, the
oldest first, of the last 256. Waking up on the same peer shows with the first turn. An agent that keeps reading data on
another peer, or calling an agent there, moves there by itself, once what it waited for that exceeds what a move takes: the line says both, in --json
pull has here_s, there_s and price_s. Where 'shoal agent move' put it it stays for an hour, whatever it reads.`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []turn.Event
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("agents/history", "agent", args[0]), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			rows := make([][]string, len(list))
			for i, e := range list {
				epoch := fmt.Sprint(e.Epoch)
				if e.Generation > 1 {
					epoch = fmt.Sprintf("%d.%d", e.Generation, e.Epoch)
				}
				at := time.UnixMilli(e.At).Format("2006-01-02 15:04:05")
				rows[i] = []string{at, epoch, e.Leader.Short(), happened(e)}
			}
			if len(rows) == 0 {
				s.note("nothing yet: it has processed no call")
				return nil
			}
			s.table("TIME EPOCH PEER WHAT", rows)
			return nil
		},
	}
}

// happened says in words what an event was.
func happened(e turn.Event) string {
	var names []string
	for _, p := range e.Keepers {
		names = append(names, p.Short())
	}
	switch e.What {
	case turn.Upgraded:
		return "runs " + e.Code + ", says " + e.By.Short()
	case turn.Moved:
		return "moves to " + e.To.Short() + ", says " + e.By.Short()
	case turn.Drawn:
		if e.Pull == nil {
			return "drawn to " + e.To.Short()
		}
		return "drawn to " + e.To.Short() + ": " + e.Pull.Why
	case turn.Kept:
		return "kept by " + strings.Join(names, " ")
	}
	return "lives here, kept by " + strings.Join(names, " ")
}

func agentLogsCmd(s *shell) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs AGENT",
		Short: "Print what an agent logged",
		Long: `Its last lines, from wherever its turns ran: each peer keeps some of those that were logged on it, in memory,
until it stops. What a turn logged is printed whether or not it came to its end.`,
		Example: "  shoal agent logs hits -f",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flag := ""
			if follow {
				flag = "1"
			}
			out := io.Writer(s.out)
			if !s.json {
				w := &logWriter{s: s}
				defer w.rest()
				out = w
			}
			err := s.client().Raw(cmd.Context(), api.Query("agents/logs", "agent", args[0], "follow", flag), out)
			if w, ok := out.(*logWriter); ok && err == nil && !w.any {
				s.note("it has logged nothing that is still kept")
			}
			if follow && context.Cause(cmd.Context()) != nil {
				return nil // whoever follows ends it
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as it logs more, until interrupted")
	return cmd
}

// logWriter makes lines of JSON into lines for people.
type logWriter struct {
	s    *shell
	part []byte
	any  bool
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.part = append(w.part, b...)
	for {
		n, line, err := bufio.ScanLines(w.part, false)
		if n == 0 || err != nil {
			return len(b), err
		}
		w.line(line)
		w.part = w.part[n:]
	}
}

func (w *logWriter) line(b []byte) {
	var l agents.Line
	if json.Unmarshal(b, &l) != nil {
		return
	}
	w.any = true
	w.s.printf("%s %s %s\n", time.UnixMilli(l.At).Format("2006-01-02 15:04:05.000"), l.Peer.Short(), l.Text)
}

func (w *logWriter) rest() {
	if len(w.part) > 0 {
		w.line(w.part)
	}
}

func agentRecoverCmd(s *shell) *cobra.Command {
	var req api.AgentRecover
	cmd := &cobra.Command{
		Use:   "recover AGENT --accept-loss",
		Short: "Go on with an agent most of whose keepers are gone for good",
		Long: `An agent most of whose keepers are gone refuses calls until they are back: what they acknowledged may be known to
nobody else. If they will never be back, this has it go on from the best log that is left: turns that only the
others had are lost. Keepers that come back later are sealed: what they have is kept, and not used.`,
		Example: "  shoal agent recover hits --accept-loss",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Agent = args[0]
			var res agents.Recovered
			if err := s.client().Call(cmd.Context(), http.MethodPost, "agents/recover", req, &res); err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s goes on from what %s had, in generation %d\n", args[0], res.Keeper, res.Generation)
			})
		},
	}
	cmd.Flags().BoolVar(&req.AcceptLoss, "accept-loss", false, "turns that only the missing keepers have may be lost")
	return cmd
}

// agentNames offers the names of agents to a shell that completes.
func (s *shell) agentNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var res []node.AgentName
	if s.ask(cmd, "agents", &res) {
		for _, a := range res {
			list = offer(list, typed, a.Name, a.Key)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
