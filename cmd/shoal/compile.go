package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/simulations"
)

const compileVerb = "compile-module"

// compileCmd is how a node compiles a module: in a process that it can kill. People have no use for it.
func compileCmd() *cobra.Command {
	return &cobra.Command{
		Use:    compileVerb + " FOLDER TIME BYTES",
		Short:  "Compile one module, for the node that started this",
		Hidden: true,
		Args:   exactly(3),
		RunE: func(_ *cobra.Command, args []string) error {
			if code := sandbox.CompileMain(args); code != 0 {
				return guestExit(code)
			}
			return nil
		},
	}
}

// nativeCmd is how a node runs a native executor: behind a process that ends it with the node.
func nativeCmd() *cobra.Command {
	return &cobra.Command{
		Use:                native.Verb,
		Short:              "Watch over one native executor, for the node that started this",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := native.Main(args); code != 0 {
				return guestExit(code)
			}
			return nil
		},
	}
}

// worldCmd is how complete nodes are simulated: in a process whose clock is its own.
func worldCmd() *cobra.Command {
	return &cobra.Command{
		Use:    simulations.WorldVerb,
		Short:  "Simulate complete nodes, for the 'sim run' that started this",
		Hidden: true,
		Args:   exactly(0),
		Run:    func(*cobra.Command, []string) { simulations.WorldMain() },
	}
}

// helper makes commands of such processes: of this same program, even if its file was replaced meanwhile.
func helper(verb string) func(ctx context.Context, args ...string) *exec.Cmd {
	return func(ctx context.Context, args ...string) *exec.Cmd {
		self := "/proc/self/exe"
		if runtime.GOOS != "linux" {
			if path, err := os.Executable(); err == nil {
				self = path
			} else {
				self = os.Args[0]
			}
		}
		cmd := exec.CommandContext(ctx, self, append([]string{verb}, args...)...)
		cmd.Args[0] = os.Args[0]
		return cmd
	}
}
