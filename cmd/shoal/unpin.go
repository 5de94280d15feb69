package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func unpinCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "unpin CID",
		Short: "Let a dataset go",
		Long: `Unpin takes this node's pin of a dataset away. Where there is no pin, it releases the dataset on the whole
fabric: no peer keeps it any longer, but those that pinned it. The space is free after a collection.`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res api.PinResult
			if err := s.client().Call(cmd.Context(), http.MethodPost, "unpin/"+args[0], nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("unpinned %s\n", res.CID) })
		},
	}
}
