// Command shoal is one binary for everything: it runs a node, and it is the client of a node.
// Each verb has a file of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal"
)

// Exit codes, as documented in 'shoal help'.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
	exitTimeout = 4
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: it executes one command line and returns the exit code.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &shell{in: in, out: out, errs: errs}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if s.cancel != nil {
		s.cancel()
	}
	return s.finish(err)
}

func newRoot(s *shell) *cobra.Command {
	root := &cobra.Command{
		Use:   "shoal",
		Short: "A peer-to-peer compute fabric: programs travel to the machines that hold their data",
		Long: `Shoal runs programs where their data lies. Start a node on each machine with 'shoal up'; put files
with 'shoal put'; run a WebAssembly program over them, on the machines that hold them, with
'shoal run MODULE --data CID --each'. There is no server: nodes find each other.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused (not allowed, or no peer fits), 4 timed out;
'shoal run' passes on the program's own.`,
		Example: `  shoal demo                            # five nodes in one process show it all
  shoal up                              # found a fabric here; prints an invite
  shoal up --join shoal1...             # on another machine: join it
  shoal put ~/texts                     # spread a folder over the fabric; prints its CID
  shoal run example:wordcount --data CID --each --reduce example:wordsum`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(cmd, err.Error())
	})
	f := root.PersistentFlags()
	f.StringVar(&s.dir, "dir", defaultDir(), "the node's directory (also SHOAL_DIR)")
	f.BoolVar(&s.json, "json", false, "print JSON: one value, or one per line for streams")
	f.DurationVar(&s.timeout, "timeout", 0, "give up after this long (exit code 4)")
	f.StringVar(&s.remote, "node", "", "talk to the node at this host:port instead; the token is read from SHOAL_TOKEN")
	_ = root.MarkPersistentFlagDirname("dir")
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		if s.timeout > 0 {
			ctx, cancel := context.WithTimeout(cmd.Context(), s.timeout)
			s.cancel = cancel
			cmd.SetContext(ctx)
		}
	}
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "Node and fabric:"},
		&cobra.Group{ID: "data", Title: "Data:"},
		&cobra.Group{ID: "run", Title: "Programs:"},
		&cobra.Group{ID: "agents", Title: "Agents, services, state:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		"node":   {upCmd(s), statusCmd(s), doctorCmd(s), peersCmd(s), inviteCmd(s), leaveCmd(s), forgetCmd(s), keyCmd(s), whoamiCmd(s)},
		"data":   {putCmd(s), getCmd(s), lsCmd(s), whereCmd(s), pinCmd(s), unpinCmd(s), gcCmd(s)},
		"run":    {demoCmd(s), runCmd(s), taskCmd(s), explainCmd(s), inspectCmd(s), simCmd(s)},
		"agents": {agentCmd(s), serviceCmd(s), ownerCmd(s), newCmd(s), stateCmd(s), topicCmd(s)},
		"":       {completionCmd(s), versionCmd(s), compileCmd(), nativeCmd(), worldCmd()},
	} {
		for _, v := range verbs {
			v.GroupID = group
			root.AddCommand(v)
		}
	}
	completeNames(root, s)
	return root
}

// usageError is a wrong command line.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usage(cmd *cobra.Command, why string) error {
	return usageError{fmt.Sprintf("%s: %s: see '%s --help'", cmd.CommandPath(), why, cmd.CommandPath())}
}

// exactly wants n arguments, named as in the usage line.
func exactly(n int) cobra.PositionalArgs { return between(n, n) }

func between(lo, hi int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < lo || len(args) > hi {
			return usage(cmd, fmt.Sprintf("takes '%s', got %d arguments", cmd.Use, len(args)))
		}
		return nil
	}
}

// guestExit carries the exit code of a program that was run.
type guestExit int

func (g guestExit) Error() string { return fmt.Sprintf("the program ended with code %d", int(g)) }

// finish prints err, if any, and returns the exit code.
func (s *shell) finish(err error) int {
	var guest guestExit
	var wrong usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &guest):
		return int(guest)
	case errors.As(err, &wrong):
		fmt.Fprintln(s.errs, wrong.msg)
		return exitUsage
	case strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(s.errs, "shoal: %s: see 'shoal help'\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return exitUsage
	}
	fmt.Fprintln(s.errs, err)
	switch shoal.KindOf(err) {
	case shoal.Invalid:
		return exitUsage
	case shoal.Refused:
		return exitRefused
	case shoal.Timeout:
		return exitTimeout
	}
	return exitFailed
}
