package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/scheduler"
)

func completionCmd(s *shell) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script with which the shell completes verbs, flags and names",
		Long: `Completion prints a script for the shell. It completes examples, and asks the local node for CIDs, tasks
and peers when it runs.`,
		Example: `  source <(shoal completion bash)
  shoal completion zsh > "${fpath[1]}/_shoal"
  shoal completion fish > ~/.config/fish/completions/shoal.fish`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(cmd, "wants the name of a shell: "+strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.out, true)
			case "zsh":
				return root.GenZshCompletion(s.out)
			case "fish":
				return root.GenFishCompletion(s.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(s.out)
			}
			return usage(cmd, "there is none for '"+args[0]+"', only for "+strings.Join(shells, ", "))
		},
	}
}

// completeNames has the shell offer names for the arguments of verbs: what the node knows, when there
// is one and it answers at once.
func completeNames(root *cobra.Command, s *shell) {
	for path, offer := range map[string]cobra.CompletionFunc{
		"get": first(s.datasetNames), "ls": first(s.datasetNames), "where": first(s.datasetNames), "pin": first(s.datasetNames),
		"unpin": first(s.datasetNames), "forget": first(s.peerNames), "run": first(s.codeNames), "inspect": first(moduleNames),
		"task show": first(s.taskNames), "task logs": first(s.taskNames), "task wait": first(s.taskNames),
		"task cancel": first(s.taskNames), "task ls": first(s.taskNames),
		"agent call": first(s.agentNames), "agent show": first(s.agentNames), "agent logs": first(s.agentNames),
		"agent move": first(s.agentNames), "agent upgrade": first(s.agentNames), "agent history": first(s.agentNames),
		"agent recover": first(s.agentNames), "agent rm": first(s.agentNames), "agent create --code": moduleNames,
		"agent upgrade --code": moduleNames, "agent create --near": s.datasetNames, "agent move --near": s.datasetNames,
		"topic pub": first(s.topicNames), "topic sub": first(s.topicNames), "topic ask": first(s.topicNames), "topic bind": first(s.topicNames),
		"topic unbind": first(s.topicNames), "topic show": first(s.topicNames), "topic dead": first(s.topicNames), "topic rm": first(s.topicNames),
		"topic forget": first(s.topicNames), "topic bind --mode": oneOf(topic.Each, topic.One, topic.Ask),
		"topic create --audience": oneOf(topic.Small, topic.Large),
		"service call":            first(s.serviceNames), "service show": first(s.serviceNames), "service rm": first(s.serviceNames),
		"service create --code": moduleNames, "service create --exec": s.execNames,
		"sim run": first(scenarioNames), "sim sweep": first(scenarioNames), "sim show": first(scenarioNames), "sim replay": first(scenarioNames),
		"run --data": s.datasetNames, "run --reduce": s.codeNames, "run --on": s.peerNames,
	} {
		words := strings.Fields(path)
		flag := ""
		if last := len(words) - 1; strings.HasPrefix(words[last], "--") {
			words, flag = words[:last], words[last][2:]
		}
		cmd, _, err := root.Find(words)
		switch {
		case err != nil || cmd == root:
			panic("completion for a verb that is not there: " + path)
		case flag == "":
			cmd.ValidArgsFunction = offer
		default:
			if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
				panic("completion for a flag that is not there: " + path)
			}
		}
	}
}

// first offers names for the first argument only.
func first(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, typed)
	}
}

// oneOf offers words.
func oneOf(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// moduleNames offers the examples once their name has been begun, and else files.
func moduleNames(_ *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	const prefix = "example:"
	if typed == "" || !strings.HasPrefix(prefix, typed) && !strings.HasPrefix(typed, prefix) {
		return nil, cobra.ShellCompDirectiveDefault
	}
	for _, e := range examples.List() {
		if name := prefix + e.Name; strings.HasPrefix(name, typed) {
			list = append(list, name+"\t"+e.About)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// codeNames offers the native executors of the fabric once their prefix has been typed, and else modules.
func (s *shell) codeNames(cmd *cobra.Command, args []string, typed string) (list []string, d cobra.ShellCompDirective) {
	if !strings.HasPrefix(typed, shoal.ExecPrefix) {
		return moduleNames(cmd, args, typed)
	}
	var self node.Status
	var others []node.PeerInfo
	at := map[string]int{}
	if s.ask(cmd, "status", &self) && s.ask(cmd, "peers", &others) {
		for _, a := range append([]node.PeerInfo{{Attributes: self.Attributes}}, others...) {
			for _, name := range a.Attributes.Executors {
				at[shoal.ExecPrefix+name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(at)) {
		list = offer(list, typed, name, fmt.Sprintf("peers: %d", at[name]))
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// ask puts a question to the node, for a second. Who waits at a prompt wants no error.
func (s *shell) ask(cmd *cobra.Command, path string, out any) bool {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return s.client().Call(ctx, http.MethodGet, path, nil, out) == nil
}

func (s *shell) datasetNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var res []api.Dataset
	if s.ask(cmd, "datasets", &res) {
		for _, d := range res {
			list = offer(list, typed, d.CID, d.Name)
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func (s *shell) taskNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var res scheduler.Listing
	if s.ask(cmd, "tasks", &res) {
		for _, t := range res.Tasks {
			list = offer(list, typed, string(t.ID), string(t.State))
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func (s *shell) peerNames(cmd *cobra.Command, _ []string, typed string) (list []string, d cobra.ShellCompDirective) {
	var res []node.PeerInfo
	if s.ask(cmd, "peers", &res) {
		for _, p := range res {
			list = offer(list, typed, string(p.PeerID), string(p.State))
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// offer adds a name that goes on from what was typed.
func offer(list []string, typed, name, about string) []string {
	if strings.HasPrefix(name, typed) {
		list = append(list, name+"\t"+about)
	}
	return list
}
