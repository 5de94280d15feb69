package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/state"
)

func stateCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "Counters, registers and sets that every node changes and that become the same everywhere",
		Long: `State is what every node reads and changes by itself, without asking anybody, also while it cannot reach
the others; what they changed meanwhile merges when they meet. NAME is an object, NAME#FIELD a field of a map.

  counter   only grows                          register  the last value that was set
  tally     goes up and down                    set       elements come and go; who adds wins over who
  growset   elements come and stay                        removes at the same time

Where one value must be agreed on before anything happens (money, locks, the last seat) use an agent.`,
		Example: `  shoal state add visits 1
  shoal state set profile#name Ada
  shoal state add online alice
  shoal state watch visits --until 'value >= 1000'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(stateAddCmd(s), stateSetCmd(s), stateGetCmd(s), stateRemoveCmd(s), stateMergeCmd(s), stateWatchCmd(s), stateLsCmd(s))
	return cmd
}

const copiesHelp = "disks that have the change when the command ends (default: 2, or 1 on a fabric of one)"

// change makes changes and shows what came of them.
func (s *shell) change(cmd *cobra.Command, req api.StateChange, quiet bool) error {
	var res []api.StateObject
	if err := s.client().Call(cmd.Context(), http.MethodPost, "state", req, &res); err != nil {
		return err
	}
	if s.json {
		return s.lines(len(res), func(i int) any { return res[i] })
	}
	if !quiet {
		field := req.Changes[0].Field
		for _, o := range res {
			if o.Field == field && o.Value != nil {
				s.printf("%d\n", *o.Value)
			}
		}
	}
	return nil
}

func stateAddCmd(s *shell) *cobra.Command {
	var req api.StateChange
	var kind string
	cmd := &cobra.Command{
		Use:   "add NAME[#FIELD] N|ELEMENT...",
		Short: "Add a number to a counter, or elements to a set",
		Long: `Add adds to what is there. Of a new name a number makes a counter, which only grows, and a text a set;
--kind makes a tally (up and down) or a growset (elements stay), or a set of what looks like a number.`,
		Example: "  shoal state add visits 1\n  shoal state add stock#apples -3 --kind tally\n  shoal state add online alice bob",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage(cmd, fmt.Sprintf("takes '%s', got %d arguments", cmd.Use, len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, field := state.Split(args[0])
			elements, err := s.elements(cmd, name, field, kind, args[1:])
			if err != nil {
				return err
			}
			req.Changes = nil
			for _, arg := range args[1:] {
				op := api.StateOp{Change: state.Change{Name: name, Field: field}, Kind: kind}
				op.Verb, op.Item = state.Insert, arg
				if !elements {
					op.Verb, op.Item = state.Add, ""
					if op.By, err = strconv.ParseInt(arg, 10, 64); err != nil {
						return usage(cmd, "'"+arg+"' is no number that can be added")
					}
				}
				req.Changes = append(req.Changes, op)
			}
			return s.change(cmd, req, false)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "counter, tally, set or growset")
	cmd.Flags().IntVar(&req.Copies, "replicas", 0, copiesHelp)
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"counter", "tally", "set", "growset"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// elements reports whether what is added are elements: the kind says so, or that of what is there, or that not all are numbers.
func (s *shell) elements(cmd *cobra.Command, name, field, kind string, args []string) (bool, error) {
	if kind == "" {
		var there []api.StateObject
		err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("state/get", "name", name), nil, &there)
		if err != nil && shoal.KindOf(err) != shoal.NotFound {
			return false, err
		}
		for _, o := range there {
			if o.Field == field {
				kind = o.Kind
			}
		}
	}
	switch kind {
	case "set", "growset":
		return true, nil
	case "counter", "tally":
		return false, nil
	}
	for _, a := range args {
		if _, err := strconv.ParseInt(a, 10, 64); err != nil {
			return true, nil
		}
	}
	return false, nil
}

func stateSetCmd(s *shell) *cobra.Command {
	var req api.StateChange
	cmd := &cobra.Command{
		Use:     "set NAME[#FIELD] VALUE|-",
		Short:   "Set a register",
		Long:    "Set sets a register to a value of up to 64 KiB; - reads it from standard input. Of values set at the same time on two nodes the later one counts, by their clocks.",
		Example: "  shoal state set motd 'back at nine'\n  shoal state set config#limits - < limits.json",
		Args:    exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := payload(cmd, args[1])
			if err != nil {
				return err
			}
			name, field := state.Split(args[0])
			req.Changes = []api.StateOp{{Change: state.Change{Name: name, Field: field, Verb: state.Put, Text: text}}}
			return s.change(cmd, req, true)
		},
	}
	cmd.Flags().IntVar(&req.Copies, "replicas", 0, copiesHelp)
	return cmd
}

func stateGetCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "get NAME[#FIELD]",
		Short: "Print an object as this node knows it",
		Long:  "Get prints a number, a register's value as it is, or a set's elements, one in a line; of a map each field with its kind.",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, field := state.Split(args[0])
			var list []api.StateObject
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("state/get", "name", name), nil, &list); err != nil {
				return err
			}
			if strings.Contains(args[0], "#") {
				var only []api.StateObject
				for _, o := range list {
					if o.Field == field {
						only = append(only, o)
					}
				}
				if list = only; len(list) == 0 {
					return shoal.E(shoal.NotFound, "state "+args[0], "there is no such field", "see 'shoal state get "+name+"'")
				}
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			if len(list) > 1 || field == "" && list[0].Field != "" {
				s.objects(list)
				return nil
			}
			switch o := list[0]; {
			case o.Value != nil:
				s.printf("%d\n", *o.Value)
			case o.Kind == "register":
				_, err := s.out.Write(o.Text)
				if o.Rivals > 0 {
					s.note("%d other values were set at the same time", o.Rivals)
				}
				return err
			default:
				for _, item := range o.Items {
					s.printf("%s\n", item)
				}
			}
			return nil
		},
	}
}

// objects prints a table of objects.
func (s *shell) objects(list []api.StateObject) {
	rows := make([][]string, len(list))
	for i, o := range list {
		name := o.Name
		if o.Field != "" {
			name += "#" + o.Field
		}
		var v string
		switch {
		case o.Value != nil:
			v = strconv.FormatInt(*o.Value, 10)
		case o.Kind == "register":
			v = oneLine(string(o.Text))
		default:
			v = fmt.Sprintf("%d: %s", len(o.Items), oneLine(strings.Join(o.Items, " ")))
		}
		rows[i] = []string{name, o.Kind, v}
	}
	s.table("NAME KIND VALUE", rows)
}

// oneLine is the beginning of a text, in one line.
func oneLine(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if r := []rune(text); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return text
}

func stateRemoveCmd(s *shell) *cobra.Command {
	var req api.StateChange
	cmd := &cobra.Command{
		Use:     "remove NAME[#FIELD] [ELEMENT...]",
		Aliases: []string{"rm"},
		Short:   "Take elements out of a set, or remove an object",
		Long: `Remove takes away what this node knows of; what another node adds at the same time stays. Counters and growsets
only grow and are not removed, so that what held of them goes on holding.`,
		Example: "  shoal state remove online alice\n  shoal state remove profile#name",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "takes '"+cmd.Use+"', got nothing")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, field := state.Split(args[0])
			req.Changes = nil
			for _, item := range args[1:] {
				req.Changes = append(req.Changes, api.StateOp{Change: state.Change{Name: name, Field: field, Verb: state.Remove, Item: item}})
			}
			if len(args) == 1 {
				req.Changes = []api.StateOp{{Change: state.Change{Name: name, Field: field, Verb: state.Clear}}}
			}
			return s.change(cmd, req, true)
		},
	}
	cmd.Flags().IntVar(&req.Copies, "replicas", 0, copiesHelp)
	return cmd
}

func stateMergeCmd(s *shell) *cobra.Command {
	var req api.StateChange
	cmd := &cobra.Command{
		Use:   "merge FILE|-",
		Short: "Make many changes at once",
		Long: `Merge reads changes, a JSON object a line, and makes them in their order, in one write:

  {"name": "visits", "verb": "add", "by": 3}
  {"name": "stock", "field": "apples", "kind": "tally", "verb": "add", "by": -2}
  {"name": "motd", "verb": "set", "text": "aGVsbG8="}          (bytes in base64)
  {"name": "online", "verb": "insert", "item": "alice"}
  {"name": "online", "verb": "remove", "item": "bob"}
  {"name": "motd", "verb": "clear"}

At the first that fails it stops, with those before it made.`,
		Example: "  shoal state merge changes.jsonl",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return shoal.Wrap(shoal.Invalid, "merge", err)
				}
				defer f.Close()
				in = f
			}
			dec := json.NewDecoder(bufio.NewReader(in))
			dec.DisallowUnknownFields()
			req.Changes = nil
			for {
				var op api.StateOp
				err := dec.Decode(&op)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return shoal.E(shoal.Invalid, fmt.Sprintf("merge %s: change %d", args[0], len(req.Changes)+1), err.Error(), "see 'shoal state merge --help'")
				}
				req.Changes = append(req.Changes, op)
			}
			if err := s.change(cmd, req, true); err != nil {
				return err
			}
			s.note("%s made", counted(len(req.Changes), "change"))
			return nil
		},
	}
	cmd.Flags().IntVar(&req.Copies, "replicas", 0, copiesHelp)
	return cmd
}

func stateWatchCmd(s *shell) *cobra.Command {
	var until string
	cmd := &cobra.Command{
		Use:   "watch NAME[#FIELD] --until CONDITION",
		Short: "Wait until a condition holds, which then holds for ever, everywhere",
		Long: `Watch ends once the condition holds on this node. It may only say what cannot cease to hold: that a counter's value
is at least so much, that a growset's size is, that an element is in its items, and && and || of these. So
no other node has to be asked, and what was seen here is true everywhere, sooner or later.`,
		Example: "  shoal state watch visits --until 'value >= 1000'\n  shoal state watch votes --until 'size >= 3 && \"alice\" in items' --timeout 1m",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if until == "" {
				return usage(cmd, "wants --until CONDITION")
			}
			name, field := state.Split(args[0])
			var o api.StateObject
			err := s.client().Stream(cmd.Context(), http.MethodGet, api.Query("state/watch", "name", name, "field", field, "until", until), nil, &o, func(api.Event) {})
			if err != nil {
				return err
			}
			return s.show(o, func() {
				if o.Value != nil {
					s.printf("%d\n", *o.Value)
					return
				}
				for _, item := range o.Items {
					s.printf("%s\n", item)
				}
			})
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "the condition, e.g. 'value >= 1000'")
	return cmd
}

func stateLsCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List the objects that this node knows",
		Args:  between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var list []api.StateObject
			if err := s.client().Call(cmd.Context(), http.MethodGet, api.Query("state", "prefix", strings.Join(args, "")), nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			s.objects(list)
			return nil
		},
	}
}
