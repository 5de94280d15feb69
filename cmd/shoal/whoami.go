package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/node"
)

func whoamiCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Print the local node's peer ID",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st node.Status
			if err := s.client().Call(cmd.Context(), http.MethodGet, "status", nil, &st); err != nil {
				return err
			}
			return s.show(map[string]any{"peer_id": st.PeerID, "fabric": st.Fabric, "root": st.Root}, func() {
				s.printf("%s\n", st.PeerID)
			})
		},
	}
}
