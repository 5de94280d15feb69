package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func gcCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Drop blocks of this node that nothing needs",
		Long:  "Gc drops cached blocks: what this node keeps for the fabric, what is pinned, and fresh results stay.",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var res api.GCResult
			if err := s.client().Call(cmd.Context(), http.MethodPost, "gc", nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("freed %s in %d blocks\n", size(res.Bytes), res.Blocks) })
		},
	}
}
