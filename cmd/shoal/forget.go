package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

func forgetCmd(s *shell) *cobra.Command {
	return &cobra.Command{
		Use:   "forget PEER",
		Short: "Say that a dead machine will not come back, so that its copies are made anew",
		Long:  "PEER is a peer ID, or its last eight characters. A forgotten machine can come back only with a new invite.",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res struct {
				Peer string `json:"peer_id"`
			}
			if err := s.client().Call(cmd.Context(), http.MethodPost, "forget/"+args[0], nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("forgot %s\n", res.Peer) })
		},
	}
}
