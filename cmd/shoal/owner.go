package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
)

func ownerCmd(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "owner",
		Short: "Make owners, each with a directory of names of its own",
		Long: `The names of agents live in directories, one for each owner. The fabric itself is the first owner, whose names need
no prefix; those of others are OWNER/NAME, where OWNER is the owner's ID, or its last characters on nodes that
have heard of it.`,
		Example: "  shoal owner new\n  shoal agent create OWNER/hits --code example:counter",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(ownerNewCmd(s), ownerLsCmd(s))
	return cmd
}

func ownerNewCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "new",
		Short: "Make an owner; its key stays on this node",
		Long: `The owner's directory is born here and now, and gets keepers on other members. The key signs which agent is
the directory, and its recovery; for now every member may use the names in it.`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var o node.Owner
			if err := s.client().Call(cmd.Context(), http.MethodPost, "owners", nil, &o); err != nil {
				return err
			}
			return s.show(o, func() { s.printf("%s\n", o.ID) })
		},
	}
}

func ownerLsCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the owners that this node knows of",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []node.Owner
			if err := s.client().Call(cmd.Context(), http.MethodGet, "owners", nil, &list); err != nil {
				return err
			}
			if s.json {
				return s.lines(len(list), func(i int) any { return list[i] })
			}
			rows := make([][]string, len(list))
			for i, o := range list {
				about, key := "", "elsewhere"
				if o.Root {
					about = "the fabric's own"
				}
				if o.Here {
					key = "here"
				}
				rows[i] = []string{string(o.ID), key, about}
			}
			s.table("OWNER KEY ABOUT", rows)
			return nil
		},
	}
}
