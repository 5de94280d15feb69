package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

func topicCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topic",
		Short: "Names to send to: whoever is bound to one gets it, wherever that runs",
		Long: `A message is sent to a topic, and reaches those that are bound to it or listen, wherever they live and wherever they
move. A topic is fast, which is best effort: from the sender's node straight to those that are there; or durable: kept in
a log on three nodes until everybody who is bound has acknowledged it, numbered, and read again from any offset.

A binding says who gets messages: each binding (each), one of a group (one), or one that answers the sender (ask).

TOPIC is a path such as orders/created, or OWNER/path. docs/topics.md has the whole of it.`,
		Example: `  shoal topic create orders/created --durable
  shoal topic bind orders/created --to mailer.order --mode each
  shoal topic pub orders/created '{"id": 7, "user": "ada"}'
  shoal topic sub orders/created --from 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(topicCreateCmd(s), topicPubCmd(s), topicSubCmd(s), topicAskCmd(s), topicBindCmd(s), topicUnbindCmd(s), topicLsCmd(s),
		topicShowCmd(s), topicDeadCmd(s), topicForgetCmd(s), topicRmCmd(s))
	return cmd
}

func topicCreateCmd(s *shell) *cobra.Command {
	var req api.TopicCreate
	var retain, size string
	var ack time.Duration
	cmd := &cobra.Command{
		Use:   "create TOPIC",
		Short: "Make a topic",
		Long: `Without --durable the topic is fast: a message goes to those that are there now, and a node that was cut off a moment gets what
its sender still has. --audience says how: small, by open streams to each node that listens; large, by gossip among them; without it
the number of nodes that listen decides.

With --durable messages are in a log, on the disks of most of --replicas nodes when 'pub' returns. They stay for --retain (a day), up to so
many bytes if it is a size. What is bound gets each message at least once, and an agent processes it once: when it fails, or does
not answer within --ack-wait, it is delivered again, and after --tries it is put aside ('shoal topic dead').`,
		Example: "  shoal topic create prices\n  shoal topic create orders/created --durable\n  shoal topic create audit --durable --retain 720h --replicas 5",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Name, req.AckS = args[0], ack.Seconds()
			if retain != "" {
				if d, err := time.ParseDuration(retain); err == nil {
					req.RetainS = d.Seconds()
				} else if n, err := parseSize(retain); err == nil {
					req.RetainBytes = n
				} else {
					return usage(cmd, "wants a time or a size with --retain, as in 48h or 100MiB")
				}
			}
			if size != "" {
				n, err := parseSize(size)
				if err != nil {
					return err
				}
				req.RetainBytes = n
			}
			var res api.TopicCreated
			if err := s.client().Call(cmd.Context(), http.MethodPost, "topics", req, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("%s\n", res.Key) })
		},
	}
	f := cmd.Flags()
	f.BoolVar(&req.Durable, "durable", false, "keep messages until they are acknowledged")
	f.StringVar(&req.Audience, "audience", "", "small or large: how messages of a fast topic go")
	f.StringVar(&retain, "retain", "", "durable: how long messages stay, or how many bytes of them (default 24h)")
	f.StringVar(&size, "retain-size", "", "durable: how many bytes of messages stay, besides a time in --retain")
	f.IntVar(&req.Tries, "tries", 0, "durable: deliveries of a message before it is put aside (default 5)")
	f.DurationVar(&ack, "ack-wait", 0, "durable: how long a delivery may take (default 30s)")
	f.IntVar(&req.Replicas, "replicas", 0, "nodes that keep the topic: 1, 3 or 5 (default 3)")
	return cmd
}

// Messages go to the node in batches of so many, or so many bytes.
const (
	pubMost  = 500
	pubBytes = 1 << 20
)

func topicPubCmd(s *shell) *cobra.Command {
	var m api.TopicMessage
	var lines bool
	cmd := &cobra.Command{
		Use:   "pub TOPIC [BODY|-]",
		Short: "Send a message",
		Long: `BODY is passed on as it is; - reads it from standard input. A body over 64 KiB is put as data and travels as its CID, which those
that listen do not notice. Messages with the same --key reach what is bound to the topic in their order.
With --lines each line of standard input is a message. What is printed is the message's ID, its offset on a durable topic.`,
		Example: "  shoal topic pub orders/created '{\"id\": 7}' --key ada\n  shoal topic pub lines --lines < book.txt",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := api.TopicPublish{Topic: args[0]}
			if !lines {
				if len(args) == 2 {
					var err error
					if m.Body, err = body(cmd, args[1]); err != nil {
						return err
					}
				}
				req.Messages = []api.TopicMessage{m}
				var res []api.TopicMessage
				if err := s.client().Call(cmd.Context(), http.MethodPost, "topics/publish", req, &res); err != nil {
					return err
				}
				return s.show(res[0], func() { s.printf("%s\n", res[0].ID) })
			}
			if len(args) == 2 {
				return usage(cmd, "reads messages from standard input with --lines, and takes no BODY")
			}
			return s.pubLines(cmd, req, m)
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.Key, "key", "", "messages of one key keep their order")
	f.StringVar(&m.Trace, "trace", "", "a word that those who get the message see")
	f.BoolVar(&lines, "lines", false, "each line of standard input is a message")
	return cmd
}

// mostBody is what the API takes of one message; what is longer is data.
const mostBody = 2 << 20

// body is an argument's bytes, or of "-" what standard input has.
func body(cmd *cobra.Command, arg string) ([]byte, error) {
	if arg != "-" {
		return []byte(arg), nil
	}
	b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), mostBody+1))
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "standard input", err)
	}
	if len(b) > mostBody {
		return nil, shoal.E(shoal.Invalid, "standard input", "more than 2 MiB", "put it with 'shoal put', and send its CID")
	}
	return b, nil
}

// pubLines sends each line of standard input.
func (s *shell) pubLines(cmd *cobra.Command, req api.TopicPublish, as api.TopicMessage) error {
	in := bufio.NewScanner(cmd.InOrStdin())
	in.Buffer(nil, 1<<20)
	sent, size := 0, 0
	flush := func() error {
		if len(req.Messages) == 0 {
			return nil
		}
		if err := s.client().Call(cmd.Context(), http.MethodPost, "topics/publish", req, nil); err != nil {
			return fmt.Errorf("after %s: %w", counted(sent, "message"), err)
		}
		sent += len(req.Messages)
		req.Messages, size = req.Messages[:0], 0
		return nil
	}
	for in.Scan() {
		m := as
		m.Body = []byte(in.Text())
		req.Messages, size = append(req.Messages, m), size+len(m.Body)
		if len(req.Messages) >= pubMost || size >= pubBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := in.Err(); err != nil {
		return shoal.E(shoal.Invalid, "standard input", err.Error(), "with --lines a line has 1 MiB at most")
	}
	if err := flush(); err != nil {
		return err
	}
	if s.json {
		return s.print(map[string]int{"messages": sent})
	}
	s.note("%s sent", counted(sent, "message"))
	return nil
}

func topicAskCmd(s *shell) *cobra.Command {
	var req api.TopicAsk
	cmd := &cobra.Command{
		Use:     "ask TOPIC [BODY|-]",
		Short:   "Send a message and print the answer",
		Long:    "One of those that are bound with --mode ask answers. Nobody being bound is an error.",
		Example: "  shoal topic ask price/eur 'apples'",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Topic = args[0]
			if len(args) == 2 {
				var err error
				if req.Body, err = body(cmd, args[1]); err != nil {
					return err
				}
			}
			req.TimeoutSeconds = s.patience()
			var res api.AgentReply
			if err := s.client().Call(cmd.Context(), http.MethodPost, "topics/ask", req, &res); err != nil {
				return err
			}
			return s.reply(res, res.Reply)
		},
	}
	cmd.Flags().StringVar(&req.Key, "key", "", "messages of one key go to the same member")
	return cmd
}

func topicBindCmd(s *shell) *cobra.Command {
	var req api.TopicBind
	cmd := &cobra.Command{
		Use:   "bind TOPIC --to AGENT.METHOD|SERVICE|MODULE#EXPORT",
		Short: "Have an agent, a service or a function process a topic's messages",
		Long: `The body of a message is the payload of the call. A module's export becomes a service of its own, with instances where messages come.

Modes: each, every binding gets every message; one, one of the bindings of --group does, another if it cannot; ask, one of them
answers 'topic ask'. Of a group the message decides who gets it, or, with --by, what that expression gives of it: messages of one key go
to the same member, in their order. Without --by the sender's --key counts. --filter has a binding get only messages of which it holds.
Expressions are CEL over body, json (the body read as JSON), size, key, publisher and data.

A binding of a durable topic begins with the next message, or at --from.`,
		Example: `  shoal topic bind orders/created --to mailer.order --mode each
  shoal topic bind lines --to counter-1.count --mode one --group counters
  shoal topic bind orders/created --to fraud.check --filter 'json.amount > 1000' --by json.user
  shoal topic bind price/eur --to example:classify#classify --mode ask`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.To == "" {
				return usage(cmd, "wants --to AGENT.METHOD, a service's name, or MODULE#EXPORT")
			}
			req.Topic = args[0]
			c := s.client()
			if file, export, ok := strings.Cut(req.To, "#"); ok {
				module, err := s.module(cmd.Context(), c, file)
				if err != nil {
					return err
				}
				req.To = module + "#" + export
			}
			var res topic.Binding
			if err := c.Call(cmd.Context(), http.MethodPost, "topics/bind", req, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("%s\n", res.ID) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.To, "to", "", "what processes the messages")
	f.StringVar(&req.Mode, "mode", topic.Each, "each, one or ask")
	f.BoolVar(&req.Read, "read", false, "with ask: the agent's method only reads, which is faster")
	f.StringVar(&req.Group, "group", "", "with one and ask: the group, of which one gets a message")
	f.StringVar(&req.Filter, "filter", "", "which messages, as in 'json.amount > 100'")
	f.StringVar(&req.Key, "by", "", "what must keep its order, as in json.user")
	f.Uint64Var(&req.From, "from", 0, "durable: the first message it gets")
	f.StringVar(&req.Kind, "kind", "", "agent, service or function, if the name does not tell")
	return cmd
}

func topicUnbindCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:     "unbind TOPIC BINDING|AGENT.METHOD|SERVICE",
		Short:   "End a binding",
		Example: "  shoal topic unbind orders/created mailer.order",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res struct {
				Removed int `json:"removed"`
			}
			if err := s.client().Call(cmd.Context(), http.MethodDelete, api.Query("topics/bind", "topic", args[0], "binding", args[1]), nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.note("%s removed", counted(res.Removed, "binding")) })
		},
	}
}

func topicLsCmd(s *shell) *cobra.Command {
	var owner string
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List the topics",
		Args:  between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []api.TopicInfo
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("topics", "owner", owner, "prefix", strings.Join(args, "")), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			rows := make([][]string, len(list))
			for i, t := range list {
				messages := "-"
				if t.Kind == "durable" {
					messages = strconv.FormatUint(t.Next-t.First, 10)
				}
				rows[i] = []string{t.Name, t.Kind, strconv.Itoa(len(t.Bindings)), messages, ago(time.Since(time.UnixMilli(t.BornMS)).Seconds())}
				if t.Failure != "" {
					rows[i][1] = "(" + t.Failure + ")"
				}
			}
			s.table("TOPIC KIND BINDINGS MESSAGES AGE", rows)
			return nil
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "of this owner, instead of the fabric's")
	return cmd
}

func topicRmCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "rm TOPIC",
		Short: "Remove a topic, its messages and bindings",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.client().Call(cmd.Context(), http.MethodDelete, api.Query("topics", "topic", args[0]), nil, nil)
		},
	}
}
