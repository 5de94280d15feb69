package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// message is a message as it is printed with --json: the body as text besides, if it is one.
type message struct {
	api.TopicMessage
	Text *string `json:"text,omitempty"`
}

func shown(m api.TopicMessage) message {
	out := message{TopicMessage: m}
	if m.Lost == nil && utf8.Valid(m.Body) {
		text := string(m.Body)
		out.Text = &text
	}
	return out
}

func topicSubCmd(s *shell) *cobra.Command {
	var since, consumer string
	var from, count uint64
	cmd := &cobra.Command{
		Use:   "sub TOPIC",
		Short: "Print messages as they come",
		Long: `Each message's body is printed as a line; --json says who sent it, when and under which number besides. What is sent from now on
is printed, or, of a durable topic, all from an offset (--from) or a time (--since) on; of a fast one, with --since,
what senders still have. Messages that are gone for good are told of.

--consumer reads a durable topic from the position that it keeps under that name, and moves it on with each message that was
printed. Several that read under one name share the messages.`,
		Example: "  shoal topic sub prices\n  shoal topic sub orders/created --from 1 --count 10\n  shoal topic sub orders/created --since 1h --json\n  shoal topic sub orders/created --consumer billing",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at := ""
			if since != "" {
				t, err := time.Parse(time.RFC3339, since)
				if err != nil {
					d, bad := time.ParseDuration(since)
					if bad != nil {
						return usage(cmd, "wants a time or how long ago with --since, as in 10m or 2026-01-31T12:00:00Z")
					}
					t = time.Now().Add(-d)
				}
				at = strconv.FormatInt(max(t.UnixMilli(), 1), 10)
			}
			number := func(n uint64) string {
				if n == 0 {
					return ""
				}
				return strconv.FormatUint(n, 10)
			}
			var failed error
			path := api.Query("topics/sub", "topic", args[0], "from", number(from), "since_ms", at, "consumer", consumer, "count", number(count))
			err := s.client().Stream(cmd.Context(), http.MethodGet, path, nil, nil, func(e api.Event) {
				switch {
				case e.Message == nil || failed != nil:
				case s.json:
					failed = s.print(shown(*e.Message))
				case e.Message.Lost != nil:
					l := e.Message.Lost
					s.note("messages %d to %d are gone%s", l.From, l.To, of(l.Publisher))
				case e.Message.Data != "":
					s.note("a message of more than 2 MiB: shoal get %s", e.Message.Data)
				default:
					s.printf("%s\n", e.Message.Body)
				}
			})
			switch {
			case failed != nil:
				return failed
			case err != nil && shoal.KindOf(err) == shoal.Canceled: // Ctrl-C is how it ends
				return nil
			}
			return err
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&from, "from", 0, "durable: begin at this offset")
	f.StringVar(&since, "since", "", "begin at this time, or so long ago")
	f.Uint64Var(&count, "count", 0, "end after so many messages")
	f.StringVar(&consumer, "consumer", "", "durable: read on from where this name is, and keep its position")
	return cmd
}

func of(publisher string) string {
	if publisher == "" {
		return ""
	}
	return " of " + publisher
}

func topicShowCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "show TOPIC",
		Short: "Say what a topic is, what is bound to it and how far that is",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res api.TopicInfo
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("topics/show", "topic", args[0]), nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.topic(res) })
		},
	}
}

func (s *shell) topic(t api.TopicInfo) {
	line := func(what, format string, args ...any) { s.printf("%-11s %s\n", what, fmt.Sprintf(format, args...)) }
	line("topic", "%s", t.Name)
	line("key", "%s", t.Key)
	if t.Kind == "durable" {
		line("kind", "durable: kept for %v, tried %d times, each within %v", span(t.RetainS), t.Tries, span(t.AckS))
		line("messages", "%d, of %s (offsets %d to %d)", t.Next-t.First, size(t.Bytes), t.First, t.Next-1)
		if t.Next == t.First {
			line("messages", "none (the next has offset %d)", t.Next)
		}
	} else {
		line("kind", "fast, by %s", t.Here.Carrier)
		line("listening", "%s", counted(t.Subscribers, "node"))
		line("sending", "%s", counted(t.Publishers, "node"))
	}
	h := t.Here
	line("here", "%d sent (%.0f/s), %d heard (%.0f/s), %d brought to what is bound (%.0f/s), %d given up",
		h.Published, h.PublishRate, h.Received, h.ReceiveRate, h.Delivered, h.DeliverRate, h.Failed)
	if h.Why != "" {
		line("", "the last: %s", h.Why)
	}
	if h.Lost > 0 {
		line("lost", "%d messages were gone before they came here", h.Lost)
	}
	if len(t.Bindings) > 0 {
		s.printf("\n")
		rows := make([][]string, len(t.Bindings))
		for i, b := range t.Bindings {
			rows[i] = []string{b.ID, b.Mode, bound(b), dash(b.Group), dash(b.Filter), dash(b.Key)}
		}
		s.table("BINDING MODE TO GROUP FILTER BY", rows)
	}
	if len(t.Consumers) > 0 {
		s.printf("\n")
		rows := make([][]string, len(t.Consumers))
		for i, c := range t.Consumers {
			rows[i] = []string{c.Name, strconv.FormatUint(c.Next, 10), strconv.FormatUint(c.Lag, 10), strconv.Itoa(c.Leased), strconv.Itoa(c.Dead)}
		}
		s.table("CONSUMER NEXT LAG DELIVERED DEAD", rows)
	}
}

// bound is how what is bound is typed.
func bound(b topic.Binding) string {
	if b.Method == "" {
		return b.To
	}
	return b.To + "." + b.Method
}

func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func topicDeadCmd(s *shell) *cobra.Command {
	var req api.TopicResend
	var resend bool
	var offsets []uint
	cmd := &cobra.Command{
		Use:   "dead TOPIC",
		Short: "List the messages of a durable topic that were given up, or send them again",
		Long: `Messages that failed as often as the topic allows are put aside, with the last error. --resend has them delivered again, --drop
forgets them: all, or those of --consumer and --offset.`,
		Example: "  shoal topic dead orders/created\n  shoal topic dead orders/created --resend --offset 17",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case resend && req.Drop:
				return usage(cmd, "wants one of --resend and --drop")
			case resend || req.Drop:
				req.Topic = args[0]
				for _, o := range offsets {
					req.Offsets = append(req.Offsets, uint64(o))
				}
				var res struct {
					Messages int `json:"messages"`
				}
				if err := s.client().Call(cmd.Context(), http.MethodPost, "topics/resend", req, &res); err != nil {
					return err
				}
				done := "delivered again"
				if req.Drop {
					done = "forgotten"
				}
				return s.show(res, func() { s.note("%s %s", counted(res.Messages, "message"), done) })
			case len(offsets) > 0:
				return usage(cmd, "wants --resend or --drop with --offset")
			}
			var list []api.TopicMessage
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("topics/dead", "topic", args[0], "consumer", req.Consumer), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return shown(list[i]) })
			}
			rows := make([][]string, len(list))
			for i, m := range list {
				rows[i] = []string{strconv.FormatUint(m.Offset, 10), m.Consumer, strconv.Itoa(m.Try), dash(m.Key), fmt.Sprintf("%.40q", m.Body), m.Reason}
			}
			s.table("OFFSET CONSUMER TRIES KEY BODY WHY", rows)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Consumer, "consumer", "", "only what this one gave up")
	f.BoolVar(&resend, "resend", false, "deliver them again")
	f.BoolVar(&req.Drop, "drop", false, "forget them")
	f.UintSliceVar(&offsets, "offset", nil, "only these")
	return cmd
}

func topicForgetCmd(s *shell) *cobra.Command {
	var consumer string
	cmd := &cobra.Command{
		Use:     "forget TOPIC --consumer NAME",
		Short:   "Forget the position of a consumer",
		Example: "  shoal topic forget orders/created --consumer billing",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if consumer == "" {
				return usage(cmd, "wants --consumer NAME")
			}
			return s.client().Call(cmd.Context(), http.MethodDelete, api.Query("topics/consumer", "topic", args[0], "consumer", consumer), nil, nil)
		},
	}
	cmd.Flags().StringVar(&consumer, "consumer", "", "whose")
	return cmd
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (s *shell) topicNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var all []api.TopicInfo
	if s.ask(cmd, "topics", &all) {
		for _, t := range all {
			list = offer(list, typed, t.Name, t.Kind)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}
