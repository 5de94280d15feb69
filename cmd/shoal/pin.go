package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func pinCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "pin CID",
		Short: "Keep a whole dataset on this node until it is unpinned",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res api.PinResult
			m := s.meter()
			err := s.client().Stream(cmd.Context(), http.MethodPost, "pin/"+args[0], nil, &res, m.on)
			m.clear()
			if err != nil {
				return err
			}
			return s.show(res, func() { s.printf("pinned %s (%s)\n", res.CID, size(res.Bytes)) })
		},
	}
}
