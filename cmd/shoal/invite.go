package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-fabric/shoal/api"
)

func inviteCmd(s *shell) *cobra.Command {
	var ttl time.Duration
	var uses int
	cmd := &cobra.Command{
		Use:   "invite",
		Short: "Print an invite with which another machine joins the fabric",
		Long: `Whoever has an invite can join the fabric, and a member may do everything in it. Hand it over as you
would a password. An invite with --uses is redeemed by this node only; any other by any member.`,
		Example: "  shoal invite --ttl 1h --uses 1\n  shoal invite approve K7QF-2M9X-TZ4C",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var res struct {
				Invite string `json:"invite"`
			}
			req := api.InviteRequest{TTLSeconds: ttl.Seconds(), Uses: uses}
			if err := s.client().Call(cmd.Context(), http.MethodPost, "invite", req, &res); err != nil {
				return err
			}
			return s.show(res, func() {
				s.printf("%s\n", res.Invite)
				s.note("on the other machine: shoal up --join %.12s...", res.Invite)
			})
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long it is valid (default: for ever)")
	cmd.Flags().IntVar(&uses, "uses", 0, "how many machines may join with it (default: any number)")
	cmd.AddCommand(&cobra.Command{
		Use:   "approve CODE",
		Short: "Admit the machine that shows this code ('shoal up --join lan')",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var res struct {
				Peer string `json:"peer_id"`
			}
			if err := s.client().Call(cmd.Context(), http.MethodPost, "invite/approve/"+args[0], nil, &res); err != nil {
				return err
			}
			return s.show(res, func() { s.printf("admitted %s\n", res.Peer) })
		},
	})
	return cmd
}
