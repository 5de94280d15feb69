package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/demo"
)

func demoCmd(s *shell) *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo [PATH]",
		Short: "Five nodes in one process count words where they lie, and survive a kill",
		Long: `Demo needs no running node. It starts five complete nodes on loopback, puts PATH (default: this folder)
with two copies of each partition, counts its words with the program sent to the data, then with the
data shipped to one node, then with a node killed half-way, and compares. Between, a task finds the node that has a
graphics processor (a declared one), and an agent moves to the data that it keeps reading. It leaves nothing behind.`,
		Example: "  shoal demo\n  shoal demo ~/texts --json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := demo.Options{Path: "."}
			if len(args) == 1 {
				o.Path = args[0]
			}
			if !s.json {
				o.Text, o.Live = s.out, onTerminal(s.out)
			}
			if verbose {
				o.Log = slog.New(slog.NewTextHandler(s.errs, nil))
			} else {
				o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
			}
			r, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if s.json {
				if err := s.print(r); err != nil {
					return err
				}
			}
			if !r.OK {
				return guestExit(exitFailed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the nodes' logs too")
	return cmd
}
